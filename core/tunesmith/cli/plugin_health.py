"""How the installed plugins fare, and switching them on and off."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint
from typing import Any

from tunesmith import plugins, settings
from tunesmith.cli.screen import say
from tunesmith.errors import PluginError, did_you_mean
from tunesmith.techniques import FAMILIES


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
        "undocumented": sorted(undocumented(host)),
    }


def undocumented(host: plugins.Host) -> Iterable[str]:
    """Yield a sentence for every technique and option without a docstring."""
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
