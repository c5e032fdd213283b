"""What can be said of plugins and techniques, as facts and as text."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic_core import PydanticUndefined

from tunesmith import plugins
from tunesmith.cli.screen import say, table
from tunesmith.errors import ConfigError, did_you_mean
from tunesmith.plugin_host import DOCTOR
from tunesmith.techniques import FAMILIES, Technique


def family_called(name: str) -> type[Technique]:
    """Return a family by any spelling: Sampler, sampler, samplers, register_samplers."""
    wanted = _folded(name)
    for family in FAMILIES:
        if wanted in (_folded(family.family), _folded(family.hook.removeprefix("register_"))):
            return family
    names = [family.family for family in FAMILIES]
    spoken = name.title().replace("_", "").replace(" ", "")
    raise ConfigError(
        f"There is no family {name!r}.{did_you_mean(spoken, names)} Families: {', '.join(names)}."
    )


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower()).removeprefix("register").removesuffix("s")


def listing(family: str | None = None) -> dict[str, Any]:
    """Return every technique by family, and what could not be loaded."""
    host = plugins.host()
    wanted = [family_called(family)] if family else FAMILIES
    return {
        "families": {
            one.family: [_line(technique) for technique in host.available(one).values()]
            for one in wanted
        },
        "disabled": host.disabled,
        "broken": [{"plugin": b.plugin, "error": b.error} for b in host.broken],
        "conflicts": [host.conflict(*key) for key in host.conflicts],
    }


def _line(technique: type[Technique]) -> dict[str, Any]:
    where = plugins.host().provenance(technique)
    return {
        "name": technique.name,
        "summary": summary(technique),
        "plugin": where.plugin,
        "distribution": where.distribution,
        "version": where.version,
    }


def summary(technique: type[Technique]) -> str:
    """Return the first line of a technique's docstring."""
    return (inspect.getdoc(technique) or "").partition("\n")[0]


def show_listing(found: dict[str, Any]) -> None:
    """Write one line per technique, the family's name on its first."""
    rows = []
    for family, techniques in found["families"].items():
        for at, one in enumerate(techniques or [{}]):
            origin = f"{one['distribution']} {one['version']}" if one else ""
            title = "" if at else family
            rows.append((title, one.get("name", "(none)"), one.get("summary", ""), origin))
    table(("family", "technique", "what it does", "from"), rows)
    _show_troubles(found)


def _show_troubles(found: dict[str, Any]) -> None:
    if found["disabled"]:
        say(f"\nDisabled: {', '.join(found['disabled'])}")
    if found["broken"]:
        names = ", ".join(dict.fromkeys(one["plugin"] for one in found["broken"]))
        say(f"\nNot loaded: {names}; {DOCTOR}.")
    for conflict in found["conflicts"]:
        say(f"\n{conflict}")


def facts(family: type[Technique], name: str) -> dict[str, Any]:
    """Return everything about one technique; PluginError when there is none such."""
    technique = plugins.host().find(family, name)
    return _line(technique) | {
        "family": family.family,
        "doc": inspect.getdoc(technique) or "",
        "options": [_option(key, one) for key, one in technique.model_fields.items()],
        "needs": list(technique.needs),
        "source": inspect.getsourcefile(technique),
        "hash": plugins.source_hash(technique),
        "example": {"name": name},
    }


def _option(key: str, field: Any) -> dict[str, Any]:
    required = field.is_required()
    default = None if required else field.get_default(call_default_factory=True)
    return {
        "name": key,
        "type": type_name(field.annotation),
        "required": required,
        "default": None if default is PydanticUndefined else _plain(default),
        "limits": [_limit(one) for one in field.metadata if _limit(one)],
        "doc": " ".join((field.description or "").split()),
    }


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | dict | None) else str(value)


def type_name(annotation: Any) -> str:
    """Return a type as one would say it of YAML: ``int | null``, ``'a' | 'b'``, ``list[str]``."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in _WORDS:
        return _WORDS[annotation]
    if origin is Annotated:
        return type_name(inner[0])
    if origin is Literal:
        return " | ".join(repr(one) for one in inner)
    if origin in (Union, UnionType):
        return " | ".join(type_name(one) for one in inner)
    if origin is tuple:
        inner = tuple(one for one in inner if one is not Ellipsis)
    if origin in (list, tuple, set, frozenset):
        return f"list[{', '.join(map(type_name, inner))}]"
    if origin is dict:
        return f"dict[{', '.join(map(type_name, inner))}]"
    return str(getattr(annotation, "__name__", annotation))


_WORDS: dict[Any, str] = {NoneType: "null", Path: "path", Any: "any", ...: "..."}


def _limit(mark: Any) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "min_length": "length ≥"}
    found = [f"{sign} {getattr(mark, key)}" for key, sign in signs.items() if hasattr(mark, key)]
    return found[0] if found else ""


def show_technique(found: dict[str, Any]) -> None:
    """Write one technique's page."""
    say(f"{found['family']} {found['name']}\n")
    say(found["doc"])
    say(f"\nFrom {found['distribution']} {found['version']}, plugin {found['plugin']}")
    say(f"in {found['source']} ({found['hash']})")
    if found["needs"]:
        say(f"needs {', '.join(found['needs'])}")
    if found["options"]:
        say()
        table(("option", "type", "default", "meaning"), map(_option_row, found["options"]))
    else:
        say("\nIt has no options.")


def _option_row(option: dict[str, Any]) -> tuple[str, str, str, str]:
    kind = " ".join([option["type"], *(f"({limit})" for limit in option["limits"])])
    default = "(required)" if option["required"] else yaml_text(option["default"])
    return option["name"], kind, default, option["doc"]


def yaml_text(value: Any) -> str:
    """Return a value as one would write it in the config, on one line."""
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()
