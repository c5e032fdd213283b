"""The English and French words of the translation family, with gender, number and kind."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun in both languages; its kind says which verbs and adjectives may go with it."""

    english: str
    english_plural: str
    french: str
    gender: str
    kind: str


@dataclass(frozen=True, slots=True)
class Adjective:
    """An adjective with the four French forms and the kinds of nouns it may describe."""

    english: str
    masculine: str
    feminine: str
    kinds: str
    before: bool
    liaison: str = ""


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb with its present forms for je, tu, il, nous, ils and the kinds of its objects."""

    english: str
    infinitive: str
    forms: tuple[str, ...]
    objects: str
    animal: bool = False


def _nouns(kind: str, table: str) -> list[Noun]:
    """Read nouns of one kind from lines `english plural french gender`."""
    rows = [line.split() for line in table.strip().splitlines()]
    return [Noun(one, many, french, gender, kind) for one, many, french, gender in rows]


# Kinds: p person, a animal, f food, t thing, o thing that opens, r thing to read.
NOUNS: tuple[Noun, ...] = tuple(
    _nouns("p", """
boy boys garçon m
girl girls fille f
man men homme m
woman women femme f
teacher teachers professeur m
doctor doctors médecin m
friend friends ami m
child children enfant m
farmer farmers fermier m
neighbour neighbours voisin m
aunt aunts tante f
""")
    + _nouns("a", """
cat cats chat m
dog dogs chien m
bird birds oiseau m
horse horses cheval m
rabbit rabbits lapin m
cow cows vache f
duck ducks canard m
hen hens poule f
""")
    + _nouns("f", """
apple apples pomme f
orange oranges orange f
pear pears poire f
cake cakes gâteau m
carrot carrots carotte f
tomato tomatoes tomate f
""")
    + _nouns("t", """
house houses maison f
car cars voiture f
chair chairs chaise f
hat hats chapeau m
dress dresses robe f
bag bags sac m
key keys clé f
lamp lamps lampe f
flower flowers fleur f
tree trees arbre m
clock clocks horloge f
boat boats bateau m
""")
    + _nouns("o", """
door doors porte f
window windows fenêtre f
box boxes boîte f
""")
    + _nouns("r", """
book books livre m
letter letters lettre f
newspaper newspapers journal m
""")
)  # fmt: skip

MASS: tuple[tuple[str, str, str, str], ...] = (
    ("bread", "pain", "m", "f"), ("cheese", "fromage", "m", "f"), ("soup", "soupe", "f", "f"),
    ("jam", "confiture", "f", "f"), ("water", "eau", "f", "d"), ("milk", "lait", "m", "d"),
    ("tea", "thé", "m", "d"), ("coffee", "café", "m", "d"),
)  # fmt: skip

ADJECTIVES: tuple[Adjective, ...] = (
    Adjective("small", "petit", "petite", "paftor", True),
    Adjective("big", "grand", "grande", "paftor", True),
    Adjective("old", "vieux", "vieille", "pator", True, "vieil"),
    Adjective("new", "nouveau", "nouvelle", "tor", True, "nouvel"),
    Adjective("young", "jeune", "jeune", "pa", True),
    Adjective("pretty", "joli", "jolie", "pato", True),
    Adjective("beautiful", "beau", "belle", "pafto", True, "bel"),
    Adjective("good", "bon", "bonne", "fr", True),
    Adjective("red", "rouge", "rouge", "fto", False),
    Adjective("blue", "bleu", "bleue", "to", False),
    Adjective("green", "vert", "verte", "fto", False),
    Adjective("black", "noir", "noire", "ato", False),
    Adjective("white", "blanc", "blanche", "ato", False),
    Adjective("yellow", "jaune", "jaune", "fto", False),
    Adjective("happy", "heureux", "heureuse", "pa", False),
    Adjective("sad", "triste", "triste", "pa", False),
    Adjective("tired", "fatigué", "fatiguée", "pa", False),
    Adjective("strange", "étrange", "étrange", "paftor", False),
)


def _regular(english: str, infinitive: str, objects: str, animal: bool = False) -> Verb:
    """Conjugate a regular French verb on -er."""
    stem = infinitive[:-2]
    ours = stem + ("eons" if stem.endswith("g") else "ons")
    return Verb(
        english,
        infinitive,
        (stem + "e", stem + "es", stem + "e", ours, stem + "ent"),
        objects,
        animal,
    )


def _irregular(
    english: str, infinitive: str, forms: str, objects: str, animal: bool = False
) -> Verb:
    """Read the five present forms of an irregular French verb."""
    return Verb(english, infinitive, tuple(forms.split()), objects, animal)


# An object kind m adds food or drink without number; an empty kind means no object.
VERBS: tuple[Verb, ...] = (
    _regular("eat", "manger", "fm", True),
    _irregular("drink", "boire", "bois bois boit buvons boivent", "d", True),
    _irregular("see", "voir", "vois vois voit voyons voient", "pafto", True),
    _regular("look for", "chercher", "paftor", True),
    _regular("find", "trouver", "paftor", True),
    _irregular("buy", "acheter", "achète achètes achète achetons achètent", "aftorm"),
    _irregular("sell", "vendre", "vends vends vend vendons vendent", "aftor"),
    _irregular("take", "prendre", "prends prends prend prenons prennent", "ftor"),
    _regular("draw", "dessiner", "pafto"),
    _regular("love", "aimer", "pa"),
    _regular("wash", "laver", "fto"),
    _regular("bring", "apporter", "ftorm"),
    _regular("prepare", "préparer", "m"),
    _irregular("read", "lire", "lis lis lit lisons lisent", "r"),
    _irregular("write", "écrire", "écris écris écrit écrivons écrivent", "r"),
    _irregular("open", "ouvrir", "ouvre ouvres ouvre ouvrons ouvrent", "o"),
    _regular("close", "fermer", "o"),
    _regular("listen to", "écouter", "pa"),
    _irregular("wait for", "attendre", "attends attends attend attendons attendent", "p"),
    _irregular("follow", "suivre", "suis suis suit suivons suivent", "pa", True),
    _regular("help", "aider", "pa"),
    _irregular("sleep", "dormir", "dors dors dort dormons dorment", "", True),
    _irregular("run", "courir", "cours cours court courons courent", "", True),
    _regular("sing", "chanter", ""),
    _regular("play", "jouer", "", True),
    _regular("work", "travailler", ""),
    _irregular("go", "aller", "vais vas va allons vont", "g", True),
)

PLACES: tuple[tuple[str, str], ...] = (
    ("in the garden", "dans le jardin"), ("in the kitchen", "dans la cuisine"),
    ("in the forest", "dans la forêt"), ("near the river", "près de la rivière"),
    ("near the bridge", "près du pont"), ("at the market", "au marché"),
    ("at the station", "à la gare"), ("at the park", "au parc"), ("at school", "à l'école"),
    ("in front of the hotel", "devant l'hôtel"), ("next to the trees", "à côté des arbres"),
    ("behind the church", "derrière l'église"),
)  # fmt: skip
TARGETS: tuple[tuple[str, str], ...] = (
    ("to the park", "au parc"), ("to the market", "au marché"), ("to school", "à l'école"),
    ("to the station", "à la gare"), ("to the museum", "au musée"), ("to the beach", "à la plage"),
    ("to the shops", "aux magasins"), ("to the hospital", "à l'hôpital"),
    ("to the church", "à l'église"),
    ("to the river", "à la rivière"),
)  # fmt: skip
TIMES: tuple[tuple[str, str], ...] = (
    ("today", "aujourd'hui"), ("in the morning", "le matin"), ("in the evening", "le soir"),
    ("every day", "tous les jours"), ("now", "maintenant"), ("on Monday", "lundi"),
    ("on Sunday", "dimanche"), ("this afternoon", "cet après-midi"),
)  # fmt: skip
FUTURE_TIMES: tuple[tuple[str, str], ...] = (
    ("today", "aujourd'hui"), ("tomorrow", "demain"), ("tonight", "ce soir"),
    ("on Monday", "lundi"),
    ("on Sunday", "dimanche"), ("this afternoon", "cet après-midi"),
    ("tomorrow morning", "demain matin"),
)  # fmt: skip
