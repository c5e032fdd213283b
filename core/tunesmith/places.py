"""Where a config names techniques."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from tunesmith import plugins
from tunesmith.config import Of, Section, named
from tunesmith.records import Spec
from tunesmith.techniques import PromptStyle, Technique


@dataclass(frozen=True, slots=True)
class Place:
    """One technique in a config: where it stands, its family and its spec, a name and options."""

    path: str
    family: type[Technique]
    spec: Spec

    @property
    def section(self) -> str:
        """The section it belongs to, e.g. ``align``."""
        return self.path.partition(".")[0]


def places(section: BaseModel, path: str = "") -> Iterator[Place]:
    """Yield every technique that a config, or a section of one, names; in the file's order."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        where = f"{path}.{name}" if path else name
        if isinstance(value, Section):
            yield from places(value, where)
        for at, one in enumerate(value if isinstance(value, list) else ()):
            if isinstance(one, Section):
                yield from places(one, f"{where}.{at}")
        for mark in (m for m in field.metadata if isinstance(m, Of)):
            if isinstance(value, list):
                for at, spec in enumerate(value):
                    yield from _place(f"{where}.{at}", mark, spec)
            elif value is not None:
                yield from _place(where, mark, value)


def named_in(family: type[Technique], spec: Spec) -> Iterator[Place]:
    """Yield the technique that a spec names, and every one inside it."""
    yield from _place("", Of(family), spec)


def _place(path: str, mark: Of, spec: Spec) -> Iterator[Place]:
    options = {key: value for key, value in spec.items() if not _is_beside(mark, key, value)}
    yield Place(path, mark.family, options)
    yield from _inside(path, mark.family, options)
    if "style" in mark.beside:
        style = named(spec.get("style", "zero_shot"))
        style = style if isinstance(style, dict) else {}
        yield Place(f"{path}.style", PromptStyle, style)
        yield from _inside(f"{path}.style", PromptStyle, style)


def _is_beside(mark: Of, key: str, value: object) -> bool:
    """Say whether a key is no option; a distiller's `student` is one where it is a shape."""
    return key in mark.beside and not (key == "student" and isinstance(value, dict))


def _inside(path: str, family: type[Technique], spec: Spec) -> Iterator[Place]:
    """Yield the techniques among a technique's own options, such as a style's sampler."""
    technique = plugins.host().available(family).get(str(spec.get("name")))
    for key, field in technique.model_fields.items() if technique else ():
        for mark in (m for m in field.metadata if isinstance(m, Of)):
            inner = named(spec.get(key, field.default))
            if isinstance(inner, dict):
                yield from _place(f"{path}.{key}", mark, inner)
