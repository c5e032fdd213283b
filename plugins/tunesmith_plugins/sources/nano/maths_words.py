"""The situations in which the word problems of the nano world happen."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Situation:
    """The sentences (without their last dot) in which numbers change for one hero."""

    hero: str | None
    things: tuple[str, ...]
    start: tuple[str, ...]
    pack: tuple[str, ...]
    gain: tuple[str, ...]
    lose: tuple[str, ...]
    pack_gain: tuple[str, ...]
    pack_lose: tuple[str, ...]
    asks: tuple[str, ...]


_COLLECTION = Situation(
    None,
    ("coins", "stamps", "marbles", "shells", "cards", "stickers", "buttons", "beads"),
    ("{who} had {n} {things}", "{who} owned {n} {things}", "{who} kept {n} {things} at home"),
    (
        "{who} had {k} boxes with {n} {things} in each",
        "{who} filled {k} bags with {n} {things} each",
    ),
    ("{pro} found {n} more", "{other} gave {n} more to {who}", "{pro} bought {n} more {things}"),
    ("{pro} gave away {n}", "{pro} lost {n} {things}", "{pro} sold {n} of them"),
    ("{pro} bought {k} bags of {n} {things}", "{pro} got {k} boxes of {n} {things}"),
    ("{pro} gave {n} {things} to each of {k} friends", "{pro} sold {k} bags of {n} {things}"),
    ("How many {things} did {who} have in the end?", "How many {things} does {who} have now?"),
)
_SHOP = Situation(
    "the shop",
    ("apples", "pencils", "balls", "candles", "cups", "lamps", "hats"),
    ("{who} had {n} {things} in the morning", "there were {n} {things} in {who}"),
    ("{who} had {k} boxes of {n} {things}", "{k} boxes with {n} {things} each stood in {who}"),
    ("a truck brought {n} more", "{who} got {n} more {things}", "{other} carried in {n} more"),
    ("{who} sold {n}", "people bought {n} {things}", "{n} {things} broke"),
    ("a truck brought {k} boxes of {n} {things}", "{who} got {k} crates with {n} {things} each"),
    ("{k} people bought {n} {things} each", "{who} sold {k} boxes of {n} {things}"),
    ("How many {things} were left in {who}?", "How many {things} did {who} have in the end?"),
)
_GARDEN = Situation(
    "the garden",
    ("roses", "tulips", "plants", "flowers", "bushes"),
    ("{n} {things} grew in {who}", "there were {n} {things} in {who}"),
    ("{who} had {k} rows of {n} {things}", "{k} rows with {n} {things} each grew in {who}"),
    ("{other} planted {n} more", "in spring {n} new {things} came up"),
    ("{other} picked {n} {things}", "the storm broke {n} of them", "{n} {things} dried out"),
    ("{other} planted {k} rows of {n} {things}",),
    ("{other} dug out {k} rows of {n} {things}", "{k} children picked {n} {things} each"),
    ("How many {things} were in {who} then?", "How many {things} are in {who} now?"),
)
_TRAIN = Situation(
    "the train",
    ("passengers", "people", "travellers"),
    ("{who} left with {n} {things}", "{n} {things} sat in {who}"),
    ("{who} had {k} cars with {n} {things} in each",),
    ("{n} more got on", "at the next station {n} more {things} got on"),
    ("{n} got off", "at the next station {n} {things} got off"),
    ("{k} groups of {n} {things} got on",),
    ("{k} groups of {n} {things} got off",),
    ("How many {things} were in {who} then?", "How many {things} are in {who} now?"),
)
_LIBRARY = Situation(
    "the library",
    ("books", "maps", "films", "magazines"),
    ("{who} had {n} {things}", "{n} {things} stood in {who}"),
    ("{who} had {k} shelves with {n} {things} on each",),
    ("{other} brought {n} more", "{who} bought {n} new {things}"),
    ("{who} lent out {n}", "{other} took away {n} {things}"),
    ("{who} bought {k} boxes of {n} {things}",),
    ("{k} classes borrowed {n} {things} each",),
    ("How many {things} were in {who} then?", "How many {things} does {who} have now?"),
)
_BAKERY = Situation(
    "the bakery",
    ("rolls", "cakes", "cookies", "loaves"),
    ("{who} had {n} {things} in the morning", "{who} made {n} {things}"),
    ("{who} made {k} trays with {n} {things} on each", "{who} had {k} baskets of {n} {things}"),
    ("{who} made {n} more", "the oven gave {n} more {things}"),
    ("{who} sold {n}", "{other} bought {n} {things}"),
    ("{who} made {k} more trays of {n} {things}",),
    ("{k} schools bought {n} {things} each", "{who} sold {k} baskets of {n} {things}"),
    ("How many {things} were left in {who}?", "How many {things} did {who} have in the end?"),
)
_FARM = Situation(
    "the farm",
    ("eggs", "pumpkins", "potatoes", "melons"),
    ("{who} had {n} {things}", "there were {n} {things} on {who}"),
    ("{who} had {k} crates of {n} {things}",),
    ("{other} brought in {n} more", "the next day there were {n} more {things}"),
    ("{who} sold {n}", "{n} {things} went bad", "{other} took {n} {things} to the market"),
    ("{other} brought {k} baskets with {n} {things} each",),
    ("{who} sold {k} crates of {n} {things}", "{k} families bought {n} {things} each"),
    ("How many {things} were left on {who}?", "How many {things} did {who} have in the end?"),
)

SITUATIONS: tuple[Situation, ...] = (
    _COLLECTION,
    _COLLECTION,
    _SHOP,
    _GARDEN,
    _TRAIN,
    _LIBRARY,
    _BAKERY,
    _FARM,
)
HALVE: tuple[str, ...] = (
    "then half of the {things} went away",
    "after that half of them were gone",
)
DOUBLE: tuple[str, ...] = (
    "then the number of {things} doubled",
    "after that there were twice as many",
)
