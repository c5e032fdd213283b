"""The sentences stories are made of, by mood; every one is without its last dot."""

from dataclasses import dataclass

MOOD_WORDS: dict[str, tuple[str, ...]] = {
    "happy": ("happy", "smiled", "joy", "glad", "cheerful", "delighted", "danced", "wonderful"),
    "sad": ("sad", "tears", "cried", "lonely", "sighed", "missed", "sorrow", "wept"),
    "scary": (
        "afraid",
        "scary",
        "trembled",
        "shadow",
        "screamed",
        "ghost",
        "frightened",
        "creaked",
    ),
    "funny": ("funny", "giggled", "silly", "tickled", "hiccup", "wobbled", "joke", "nonsense"),
}
VIVID_MARKERS: tuple[str, ...] = (
    "smelled of", "shone like", "as soft as", "tasted of", "sounded like", "glittered like",
    "as cold as", "as smooth as",
)  # fmt: skip
RESOLUTION_MARKERS: tuple[str, ...] = (
    "From that day on",
    "Ever since then",
    "In the end",
    "And so",
)

THINGS: tuple[str, ...] = (
    "lantern", "kite", "drum", "key", "map", "boat", "ladder", "mirror", "candle", "bell",
    "umbrella", "basket", "hat",
    "clock", "letter", "ring", "shell", "violin", "feather", "bottle", "bucket", "ball", "book",
    "chair", "coat", "cup",
    "doll", "flute", "glove", "hammer", "jar", "lamp", "mask", "necklace", "orange", "pencil",
    "pillow", "puppet", "rope",
    "scarf", "shoe", "spoon", "stone", "suitcase", "teapot", "telescope", "wagon", "whistle",
    "window", "button", "coin", "egg",
)  # fmt: skip
PLACES: tuple[str, ...] = (
    "in the attic", "by the river", "in the garden", "under a tree", "at the market",
    "in the old barn", "on the beach",
    "behind the house", "in the forest", "on the hill", "near the mill", "in the cellar",
)  # fmt: skip
VIVID: tuple[str, ...] = (
    "that smelled of warm bread", "that smelled of rain and moss", "that smelled of cinnamon",
    "that shone like a small moon",
    "that shone like gold", "that was as soft as a kitten", "that was as cold as snow",
    "that was as smooth as glass",
    "that glittered like fresh snow", "that glittered like the sea",
    "that sounded like a tiny bird when it moved",
    "that sounded like rain when it moved", "that was as soft as a cloud", "that shone like a star",
)  # fmt: skip
OPENINGS: tuple[str, ...] = (
    "one {day} {name} found {a_thing} {place}", "{name} saw {a_thing} {place}",
    "on a {day} {name} picked up {a_thing} {place}",
    "{place} {name} came upon {a_thing}", "{name} had {a_thing}", "last {day} {name} got {a_thing}",
    "once {name} carried {a_thing} home", "nobody but {name} noticed {a_thing} {place}",
)  # fmt: skip
DAYS: tuple[str, ...] = ("morning", "evening", "night", "summer", "winter", "Sunday")
MIDDLES: tuple[str, ...] = (
    "{pro} put the {thing} into a bag and walked on", "{pro} showed the {thing} to {friend}",
    "{pro} turned the {thing} around twice",
    "{friend} came closer to look at it", "the wind moved the leaves",
    "{pro} sat down and thought for a while",
    "{pro} carried the {thing} over the bridge", "the sun went down behind the hills",
    "{friend} wanted to hold the {thing} too",
    "{pro} cleaned the {thing} with a cloth", "it was very quiet for a moment",
    "they walked down the long road together",
    "{pro} placed the {thing} on the table", "a dog barked far away",
    "{pro} asked {friend} about the {thing}",
    "the street was almost empty", "{pro} told {friend} all about it",
    "{pro} looked at the {thing} again and again",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mood:
    """What makes a story of one mood: its events, speeches, plain last lines and resolutions."""

    events: tuple[str, ...]
    speeches: tuple[tuple[str, str], ...]
    lasts: tuple[str, ...]
    closings: tuple[str, ...]


_HAPPY = Mood(
    (
        "{name} was so happy that {pro} danced around the {thing}",
        "{friend} smiled and clapped at the sight of it",
        "with joy {pro} gave the {thing} to {friend}", "everybody danced until the stars came out",
        "it was a wonderful gift for {friend}",
        "{pro} smiled all the way home", "{friend} was delighted to see the {thing}",
        "the cheerful neighbours came with cake",
    ),
    (
        ("what a wonderful day", "smiled {name}"),
        ("I am so glad to have this {thing}", "said {name}"),
        ("we are all happy now", "said {friend}"),
        ("this {thing} brings joy to us", "said {friend}"),
        ("I have never been so delighted", "called {name}"),
        ("come and be cheerful with me", "called {name}"),
    ),
    (
        "{name} went to bed with a glad heart", "they were happy until late in the night",
        "{pro} smiled in {his} sleep",
        "it was the most wonderful day of the year", "{friend} and {name} danced home",
    ),
    (
        "{name} shared every joy with {friend}", "{name} and {friend} were glad friends",
        "the {thing} made the whole house cheerful",
        "{name} knew that a happy heart likes to share",
    ),
)  # fmt: skip
_SAD = Mood(
    (
        "the {thing} fell and broke, and {name} cried", "{pro} missed {friend} very much",
        "tears ran down {his} face",
        "{friend} had moved far away, and {name} was lonely",
        "{name} sighed and held the {thing} tight",
        "{pro} wept because the {thing} was all that {friend} had left",
        "a great sorrow came over {name}", "{friend} turned away with a sad look",
    ),
    (
        ("I am so lonely without you", "said {name}"),
        ("why did you leave me, {friend}", "sighed {name}"),
        ("I have missed you every day", "said {friend}"),
        ("this {thing} makes me sad", "said {name}"),
        ("my tears will not stop", "said {friend}"), ("nobody knows my sorrow", "sighed {name}"),
    ),
    (
        "{name} walked home in tears", "the room was empty and lonely",
        "{pro} cried until the candle went out",
        "{pro} never saw {friend} again and missed {friend} always",
        "{pro} sighed and closed the door",
    ),
    (
        "{name} kept the {thing} and the sorrow in one box",
        "{name} knew that even sad days must pass",
        "{name} missed {friend} a little less", "the {thing} lay in a lonely place",
    ),
)  # fmt: skip
_SCARY = Mood(
    (
        "a long shadow crept over the wall", "the door creaked although nobody was there",
        "{name} trembled and dropped the {thing}",
        "something behind the {thing} moved, and {friend} screamed",
        "{pro} was too afraid to breathe", "a pale ghost reached for the {thing}",
        "{friend} was frightened by two red eyes", "a scary voice called the name of {name}",
    ),
    (
        ("do not turn around, there is a shadow", "whispered {friend}"),
        ("I am afraid of this {thing}", "whispered {name}"),
        ("a ghost lives in the {thing}", "said {friend}"),
        ("why is the floor so scary at night", "whispered {name}"),
        ("run, I saw a ghost", "screamed {friend}"),
        ("I have never been so frightened", "whispered {name}"),
    ),
    (
        "{name} ran home and trembled until morning", "the shadow was still waiting",
        "the stairs creaked all night",
        "nobody was less afraid when the light went out", "the ghost had taken the {thing}",
    ),
    (
        "{name} was afraid of every {thing}", "nobody went near that scary place",
        "the ghost never left the {thing}",
        "{name} slept with the light on, for a shadow may return",
    ),
)  # fmt: skip
_FUNNY = Mood(
    (
        "{name} wore the {thing} on {his} head and looked silly",
        "a goose took the {thing} and wobbled away",
        "{friend} giggled so hard that the tea spilled",
        "the {thing} tickled {name} on the nose", "{name} got a loud hiccup that would not stop",
        "{friend} told a joke about the {thing} to a cow",
        "it was funny to see {friend} sit in the soup",
        "{pro} spoke nonsense to the {thing} for an hour",
    ),
    (
        ("this {thing} is funny, it winks at me", "giggled {friend}"),
        ("stop, that tickled my ear", "giggled {name}"),
        ("who put my silly socks on the goat", "asked {name}"),
        ("I only have a hiccup", "said {friend}"),
        ("that is the best joke of the week", "said {friend}"),
        ("nonsense, a {thing} can not sneeze", "giggled {name}"),
    ),
    (
        "they giggled all the way home", "even the goat seemed to get the joke",
        "{name} still has a hiccup today",
        "the silly {thing} was sold to a duck", "{friend} wobbled home with one shoe",
    ),
    (
        "the {thing} was the best joke in town", "{name} bowed to every silly goose",
        "nobody giggled as loudly as {friend}",
        "{name} kept a funny hat for the {thing}",
    ),
)  # fmt: skip

MOODS: dict[str, Mood] = {"happy": _HAPPY, "sad": _SAD, "scary": _SCARY, "funny": _FUNNY}
