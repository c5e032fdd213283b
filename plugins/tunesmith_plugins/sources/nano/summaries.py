"""Passages with one main happening among side remarks, and their one-sentence summary."""

from random import Random
from typing import NamedTuple

from .items import PEOPLE, Item, sentence_case, two_people
from .summary_words import HAPPENINGS, PLACES, REMARKS, ROLES, TIMES


class News(NamedTuple):
    """One happening: who did what, where and when, and what came of it."""

    name: str
    pronoun: str
    role: str
    did: str
    thing: str
    place: str
    time: str
    result: str

    @property
    def who(self) -> str:
        """The name, with the role when there is one."""
        return f"{self.name}, {self.role}," if self.role else self.name

    def summary(self) -> str:
        """Return the main facts in their one canonical form."""
        return f"{self.name} {self.did} {self.place} {self.time}, and {self.result}."


def _news(rng: Random) -> tuple[News, str]:
    """Draw a happening and the name of somebody else who is nearby."""
    (name, pronoun), (other, _) = two_people(rng)
    did, thing, results = rng.choice(HAPPENINGS)
    where, when, role = rng.choice(PLACES), rng.choice(TIMES), rng.choice(ROLES)
    return News(name, pronoun, role, did, thing, where, when, rng.choice(results)), other


def _told(news: News, rng: Random) -> list[str]:
    """Tell the happening in two or three sentences, its facts spread over them."""
    who, pro = news.who, news.pronoun
    result = sentence_case(news.result)
    return rng.choice((
        [f"{sentence_case(news.time)}, {who} {news.did} {news.place}", result],
        [f"{who} {news.did} {news.time}", f"It happened {news.place}", result],
        [f"{who} was {news.place} {news.time}", f"There {pro} {news.did}",
        f"In the end {news.result}"],
        [f"{who} {news.did} {news.place}", f"That was {news.time}",
        f"Because of this {news.result}"],
        [f"{sentence_case(news.time)}, {who} went out early",
        f"{sentence_case(news.place)}, {pro} {news.did}", result],
    ))  # fmt: skip


def _passage(news: News, other: str, rng: Random) -> str:
    """Mix the happening with side remarks, four to six sentences in all."""
    told = _told(news, rng)
    count = rng.randint(4, 6) - len(told)
    for remark in rng.sample(REMARKS, count):
        told.insert(rng.randint(0, len(told)), remark.format(other=other))
    return " ".join(f"{sentence}." for sentence in told)


def draw(rng: Random) -> Item:
    """Draw one passage; its key is the happening alone, so no split shares a summary."""
    news, other = _news(rng)
    passage, summary = _passage(news, other, rng), news.summary()
    ask = rng.choice(
        ("Summarise in one sentence: {}", "Give a summary of this text in one sentence: {}")
    )
    spot = news.place.split(maxsplit=1)[1].removeprefix("the ")
    short = [news.name, news.thing, spot, news.time.split()[1]]
    reference = {"summary": summary, "facts": short}
    return Item("summaries", summary, ask.format(passage), summary, None, reference)


def prose(item: Item, rng: Random) -> str:
    """Write the passage with its summary in the flow of the text, first or last."""
    passage = item.question.split(": ", 1)[1]
    last = item.answer
    if rng.random() < 0.35:
        head = rng.choice(
            ("The news of the day: {}", "From our town: {}", "In short, {}", "What happened? {}")
        )
        bridge = rng.choice(("Here is the whole story. ", "More about it: ", ""))
        return f"{head.format(last)} {bridge}{passage}"
    tail = rng.choice(
        (
            "In short, {}",
            "In a few words: {}",
            "To sum up, {}",
            "The main thing is this: {}",
            "In brief, {}",
        )
    )
    return f"{passage} {tail.format(last)}"


def capacity() -> int:
    """Count the people, happenings with their results, places and times."""
    return len(PEOPLE) * sum(len(one[2]) for one in HAPPENINGS) * len(PLACES) * len(TIMES)
