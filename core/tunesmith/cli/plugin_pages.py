"""What can be said of plugins and techniques, as facts and as text."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from typing import Any

from pydantic_core import PydanticUndefined

from tunesmith import plugins, settings
from tunesmith.cli.screen import say, table
from tunesmith.errors import ConfigError, PluginError, did_you_mean
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
    """Return a type as people write it: ``int | None``, ``'a' | 'b'``."""
    if isinstance(annotation, type) and not getattr(annotation, "__args__", None):
        return annotation.__name__
    text = re.sub(r"typing\.Literal\[(.*?)\]", r"\1", str(annotation).replace("NoneType", "None"))
    return re.sub(r"(?:\w+\.)+(\w+)", r"\1", text)


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


def health() -> dict[str, Any]:
    """Return how every plugin fared."""
    host = plugins.host()
    return {
        "loaded": sorted(host.distributions),
        "disabled": host.disabled,
        "broken": [
            {"plugin": b.plugin, "from": b.distribution, "error": b.error, "traceback": b.traceback}
            for b in host.broken
        ],
        "conflicts": [host.conflict(*key) for key in host.conflicts],
        "heavy": host.heavy,
        "undocumented": sorted(_undocumented(host)),
    }


def _undocumented(host: plugins.Host) -> Iterable[str]:
    for family in FAMILIES:
        for name, technique in host.available(family).items():
            inherited = technique.__doc__ in (None, family.__doc__)
            if inherited:
                yield f"{family.family} {name} has no docstring"
            for key, field in technique.model_fields.items():
                if not field.description:
                    yield f"{family.family} {name}: the option {key} has no docstring"


def show_health(found: dict[str, Any]) -> None:
    """Write what is wrong, tracebacks last in each case."""
    say(f"{len(found['loaded'])} plugins loaded, {len(found['broken'])} broken.")
    for one in found["broken"]:
        say(f"\n{one['plugin']} ({one['from']}): {one['error']}\n{one['traceback']}")
        say(f"Disable it with: tunesmith plugins disable {one['plugin']}")
    for conflict in found["conflicts"]:
        say(f"\n{conflict}")
    for plugin, libraries in found["heavy"].items():
        say(
            f"\n{plugin} imports {', '.join(libraries)} to be listed; import inside its verb"
            " instead, so that every command starts quickly."
        )
    for sentence in found["undocumented"]:
        say(f"\n{sentence}; it becomes the help text.")
    if found["disabled"]:
        say(f"\nDisabled: {', '.join(found['disabled'])}")


def switch(plugin: str, *, enabled: bool) -> dict[str, Any]:
    """Switch a plugin, or all of a distribution, on or off; PluginError when there is none such."""
    known = {entry.name for entry in plugins.installed()}
    owners = {entry.dist.name for entry in plugins.installed() if entry.dist}
    match = [one for one in plugins.installed() if plugins.is_off(one, [plugin])]
    stored = {settings.plain(name) for name in settings.disabled_plugins()}
    if not match and not (enabled and settings.plain(plugin) in stored):
        names = sorted(known | owners)
        raise PluginError(
            f"No plugin or distribution is named {plugin!r}.{did_you_mean(plugin, names)}"
            " `tunesmith plugins list` shows them."
        )
    settings.set_plugin(plugin, enabled=enabled)
    plugins.host.cache_clear()
    changed = ", ".join(one.name for one in match) or plugin
    off = settings.disabled_plugins()
    left = [one.name for one in match if plugins.is_off(one, off)] if enabled else []
    message = f"{'Enabled' if enabled else 'Disabled'}: {changed}."
    if left:
        message += f" Still off, by {_switches(match, off)}: {', '.join(left)}."
    return {"plugins": [one.name for one in match], "enabled": enabled, "message": message}


def _switches(match: list[EntryPoint], off: set[str]) -> str:
    """Name the other switches that keep a plugin off."""
    own = {settings.plain(one.name) for one in match}
    own |= {settings.plain(one.dist.name) for one in match if one.dist}
    return ", ".join(sorted(name for name in off if settings.plain(name) in own))
