"""Commands about plugins and the techniques they offer."""

from __future__ import annotations

from typing import Annotated

import typer

from tunesmith.cli import plugin_kit
from tunesmith.cli.options import AsJson


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    plugins = typer.Typer(
        help="Techniques and the plugins they come from.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    plugins.command("list")(list_techniques)
    plugins.command("show", epilog=_SHOW)(show)
    plugins.command("doctor")(doctor)
    plugins.command("disable", epilog=_DISABLE)(disable)
    plugins.command("enable")(enable)
    plugin_kit.add_to(plugins)
    app.add_typer(plugins, name="plugins")


_SHOW = """Examples:

\b
  tunesmith plugins show sampler min_p
  tunesmith plugins show training_method grpo
"""
_DISABLE = """Examples:

\b
  tunesmith plugins disable sampler.min_p       one plugin
  tunesmith plugins disable tunesmith-min-p     all plugins of a distribution
  TUNESMITH_DISABLE=sampler.min_p tunesmith ... for one command only
"""
Family = Annotated[str, typer.Argument(metavar="FAMILY", help="E.g. Sampler, training_method.")]
Plugin = Annotated[
    str, typer.Argument(metavar="PLUGIN", help="A plugin's or a distribution's name.")
]


def list_techniques(
    family: Annotated[
        str | None, typer.Argument(metavar="FAMILY", help="Only this family.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List every technique by family, with the plugin it comes from."""
    from tunesmith.cli import plugin_pages, screen

    found = plugin_pages.listing(family)
    if as_json:
        screen.document(found)
    else:
        plugin_pages.show_listing(found)


def show(
    family: Family,
    name: Annotated[str, typer.Argument(metavar="NAME", help="E.g. min_p.")],
    as_json: AsJson = False,
) -> None:
    """Show one technique: what it does, its options, and where it comes from."""
    from tunesmith.cli import plugin_pages, screen

    found = plugin_pages.facts(plugin_pages.family_called(family), name)
    if as_json:
        screen.document(found)
    else:
        plugin_pages.show_technique(found)


def doctor(as_json: AsJson = False) -> None:
    """Load every plugin and say what is wrong, with tracebacks; exit code 1 if anything is."""
    from tunesmith.cli import plugin_health, screen

    found = plugin_health.health()
    if as_json:
        screen.document(found)
    else:
        plugin_health.show_health(found)
    if found["broken"] or found["conflicts"]:
        raise typer.Exit(1)


def disable(plugin: Plugin, as_json: AsJson = False) -> None:
    """Stop loading a plugin, until it is enabled again."""
    _switch(plugin, enabled=False, as_json=as_json)


def enable(plugin: Plugin, as_json: AsJson = False) -> None:
    """Load a plugin again."""
    _switch(plugin, enabled=True, as_json=as_json)


def _switch(plugin: str, *, enabled: bool, as_json: bool) -> None:
    from tunesmith.cli import plugin_health, screen

    found = plugin_health.switch(plugin, enabled=enabled)
    if as_json:
        screen.document(found)
    else:
        screen.say(found["message"])
