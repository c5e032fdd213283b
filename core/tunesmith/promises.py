"""Check what a technique gives back where a stage takes it, once per call and never per token.

A wrong type would otherwise surface far from the plugin that made it, as somebody else's error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from tunesmith.errors import PluginError
from tunesmith.records import Completion, Message, Row, Scorer
from tunesmith.scorers import RowScorer
from tunesmith.techniques import Technique

T = TypeVar("T")


def named(technique: Technique | type[Technique]) -> str:
    """Return a technique with the plugin and the distribution it is from."""
    from tunesmith import plugins

    where = plugins.host().sources.get((technique.family, technique.name))
    origin = f" of the plugin {where}" if where else ""
    return f"The {technique.family} {technique.name!r}{origin}"


def broke(technique: Technique, verb: str, wanted: str, value: object) -> PluginError:
    """Return the error for a verb that gave something else than its family promises."""
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:80]}..."
    return PluginError(
        f"{named(technique)} must return {wanted} from {verb}(); it returned {shown}."
        " This is a defect of that plugin; `tunesmith plugins test` tries all of its promises."
    )


def returned(technique: Technique, verb: str, value: Any, kind: type[T]) -> T:
    """Return the value if it is of the kind; raise PluginError naming the plugin otherwise."""
    if not isinstance(value, kind):
        raise broke(technique, verb, f"{_article(kind.__name__)} {kind.__name__}", value)
    return value


def listed(
    technique: Technique, verb: str, value: Any, kind: type[T], count: int | None = None
) -> list[T]:
    """Return the list if it holds only the kind, and ``count`` of it where that is known."""
    if not isinstance(value, list) or not all(isinstance(one, kind) for one in value):
        raise broke(technique, verb, f"a list of {kind.__name__}", value)
    if count is not None and len(value) != count:
        raise broke(technique, verb, f"{count} of {kind.__name__}, one for each", value)
    return value


def streamed(technique: Technique, verb: str, values: Any, kind: type[T]) -> Iterator[T]:
    """Yield what a technique yields, as long as it is of the kind."""
    if not isinstance(values, Iterable):
        raise broke(technique, verb, f"an iterator of {kind.__name__}", values)
    for value in values:
        if not isinstance(value, kind):
            raise broke(technique, verb, f"an iterator of {kind.__name__}", value)
        yield value


def two_places(technique: Technique, value: Any, count: int) -> tuple[int, int] | None:
    """Return the two positions that a pair selector chose among ``count`` answers, or None."""
    if value is None:
        return None
    pair = isinstance(value, tuple | list) and len(value) == 2
    if not pair or not all(type(place) is int and 0 <= place < count for place in value):
        wanted = f"two different positions below {count}, or None,"
        raise broke(technique, "choose", wanted, value)
    if value[0] == value[1]:
        raise broke(technique, "choose", "two different positions, or None,", value)
    return value[0], value[1]


def completions(opened: object, value: Any, count: int) -> list[Completion]:
    """Return what an open engine made of ``count`` prompts."""
    good = isinstance(value, list) and all(isinstance(one, Completion) for one in value)
    if good and len(value) == count:
        return list(value)
    got = f"{len(value)} of them" if good else repr(value)[:80]
    raise PluginError(
        f"{_owner(opened)} must return {count} tunesmith.Completion from generate(), one for each"
        f" prompt; it returned {got}. This is a defect of that engine."
    )


def _owner(opened: object) -> str:
    """Return the engine that an open engine is from, with its plugin, as far as its module says."""
    from tunesmith import blame, plugins

    module = type(opened).__module__.partition(".")[0]
    found = blame.foreign(plugins.host()).get(module)
    return named(found[0]) if found else f"The engine {type(opened).__name__!r}"


def scoring(technique: Technique, scorer: Any) -> Scorer:
    """Return a reward model's scorer that checks its own answers: one finite number for each."""
    if not callable(scorer):
        raise broke(technique, "open", "a function (prompts, completions) -> scores", scorer)
    return (
        _CheckedRows(technique, scorer)
        if isinstance(scorer, RowScorer)
        else _Checked(technique, scorer)
    )


class _Checked:
    """A scorer that checks what it gives, and has everything else that the scorer has."""

    def __init__(self, technique: Technique, scorer: Any) -> None:
        self.technique, self.scorer = technique, scorer

    def __getattr__(self, name: str) -> Any:
        """Return the scorer's own, e.g. the ``scale`` of its rewards and its ``digest``."""
        return getattr(self.scorer, name)

    def __call__(self, prompts: Sequence[list[Message]], texts: Sequence[str]) -> list[float]:
        return self._checked(self.scorer(prompts, texts), len(texts))

    def _checked(self, found: Any, count: int) -> list[float]:
        if not isinstance(found, list) or len(found) != count:
            raise broke(self.technique, "open", f"a scorer that gives {count} floats", found)
        if not all(isinstance(one, int | float) and math.isfinite(one) for one in found):
            raise broke(self.technique, "open", "a scorer that gives finite floats", found)
        return found


class _CheckedRows(_Checked):
    """The same for a scorer that is asked with rows."""

    def with_rows(self, rows: Sequence[Row], texts: Sequence[str]) -> list[float]:
        """Return what the scorer gives, checked."""
        return self._checked(self.scorer.with_rows(rows, texts), len(texts))


def _article(name: str) -> str:
    return "an" if name[0] in "AEIOU" else "a"
