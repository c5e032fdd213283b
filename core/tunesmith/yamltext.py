"""YAML as configs use it: the 1.2 core rules, no duplicate keys, and a place for every value.

PyYAML follows YAML 1.1, where ``no`` is false, ``1e-4`` is text and ``2024-01-01`` is a date. Here
only ``true`` and ``false`` are booleans, ``1e-4`` is a number and a date is text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tunesmith.errors import ConfigError

Path = tuple[str, ...]
"""Where a value stands: ``("data", "sources", "0", "path")``."""

_RULES = {
    "tag:yaml.org,2002:bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "tag:yaml.org,2002:int": (r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+", "-+0123456789"),
    "tag:yaml.org,2002:float": (
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    "tag:yaml.org,2002:null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "tag:yaml.org,2002:merge": (r"<<", "<"),
}


class _Loader(yaml.SafeLoader):
    """The safe loader with the rules above."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}


for _tag, (_pattern, _first) in _RULES.items():
    _Loader.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), list(_first))


def _integer(loader: yaml.SafeLoader, node: ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "")
    # int(text, 0) refuses 007, which YAML 1.2 reads as seven.
    return int(text, 0) if text[:2].lower() in ("0x", "0o") else int(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: its value, and the line (from 1) on which each part of it stands."""

    value: Any
    lines: Mapping[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int | None:
        """Return the line of a value, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def parse(text: str, name: str) -> Document:
    """Return what the text says; ConfigError names the line and column of what cannot be read."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Path, int] = {}
        if node is not None:
            _walk(node, (), lines, name, set())
        value = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{name}{_place(error)}: not valid YAML: {_reason(error)}.") from error
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ConfigError(f"{name}: not valid YAML: {error}.") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: nested too deeply.") from error
    finally:
        loader.dispose()
    return Document(value, lines)


def scalar(text: str, name: str) -> Any:
    """Return the value of a YAML snippet such as ``0.2``, ``[a, b]`` or ``{name: min_p}``."""
    return parse(text, name).value


def _place(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _reason(error: yaml.MarkedYAMLError) -> str:
    reason = error.problem or error.context or "cannot be read"
    if "\\t" in reason or "'\t'" in reason:
        return "a tab; indent with spaces"
    return reason


def _walk(node: Node, path: Path, lines: dict[Path, int], name: str, open_: set[int]) -> None:
    """Note every line, and refuse what YAML allows but a config never means."""
    if id(node) in open_:
        raise ConfigError(f"{name}, line {node.start_mark.line + 1}: an alias contains itself.")
    lines.setdefault(path, node.start_mark.line + 1)
    if len(lines) > 100_000:
        raise ConfigError(f"{name}: aliases expand to more than 100,000 values.")
    if isinstance(node, MappingNode):
        _walk_mapping(node, path, lines, name, open_ | {id(node)})
    elif isinstance(node, SequenceNode):
        for at, item in enumerate(node.value):
            _walk(item, (*path, str(at)), lines, name, open_ | {id(node)})


def _walk_mapping(
    node: MappingNode, path: Path, lines: dict[Path, int], name: str, open_: set[int]
) -> None:
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode):
            raise ConfigError(f"{name}, line {line}: a key must be a word, not a {key.id}.")
        if key.value in seen:
            raise ConfigError(
                f"{name}, line {line}: {'.'.join((*path, key.value))!r} is there twice"
                f" (first on line {seen[key.value]}). Keep one."
            )
        seen[key.value] = line
        lines[(*path, key.value)] = line
        _walk(value, (*path, key.value), lines, name, open_)
