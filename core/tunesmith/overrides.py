"""Overrides from the command line: ``align.method.beta=0.2``, ``data.sources.0.path=a.jsonl``."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from tunesmith import yamltext
from tunesmith.errors import ConfigError


def apply(config: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return the config with every ``dotted.key=YAML value`` applied, in order."""
    changed = copy.deepcopy(config)
    for text in overrides:
        path, value = read(text)
        _put(changed, path, value, text)
    return changed


def read(text: str) -> tuple[list[str], Any]:
    """Return the path and the value of one override; ConfigError when it is not ``key=value``."""
    key, equals, value = text.partition("=")
    path = [part.strip() for part in key.strip().split(".")]
    if not equals or not all(path):
        raise ConfigError(
            f"--set {text!r} is not KEY=VALUE with a dotted key,"
            " e.g. --set tune.method.epochs=2 or --set 'data.filters=[normalise]'."
        )
    return path, yamltext.scalar(value, f"--set {key.strip()}")


def _put(config: dict[str, Any], path: list[str], value: Any, text: str) -> None:
    place: Any = config
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(place, list):
            at = _index(place, part, path[:depth], text)
            place = _assign(place, at, value, last)
        elif isinstance(place, dict):
            place = _step(place, part, value, last)
        else:
            raise ConfigError(
                f"--set {text}: {'.'.join(path[:depth])} is {place!r}, which has no {part!r} in it."
            )


def _step(place: dict[str, Any], key: str, value: Any, last: bool) -> Any:
    """Go one key deeper; a bare technique name becomes a mapping, so that options can be set."""
    if last:
        place[key] = value
        return value
    if isinstance(place.get(key), str):
        place[key] = {"name": place[key]}
    if place.get(key) is None:
        place[key] = {}
    return place[key]


def _assign(place: list[Any], at: int, value: Any, last: bool) -> Any:
    if at == len(place):
        place.append(None)
    if last:
        place[at] = value
    elif place[at] is None:
        place[at] = {}
    elif isinstance(place[at], str):
        place[at] = {"name": place[at]}
    return place[at]


def _index(place: list[Any], part: str, before: list[str], text: str) -> int:
    """Return a position in the list; one past its end appends."""
    where = ".".join(before)
    if not part.isdecimal():
        raise ConfigError(
            f"--set {text}: {where} is a list of {len(place)}; say which one by its position,"
            f" e.g. {where}.0."
        )
    if int(part) > len(place):
        raise ConfigError(
            f"--set {text}: {where} has {len(place)} entries (0 to {len(place) - 1});"
            f" {where}.{len(place)} would add one."
        )
    return int(part)
