"""Commands for those who write plugins: begin one, and try one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.cli.options import AsJson

_NEW = """Examples:

\b
  tunesmith plugins new top_nsigma --family sampler
  tunesmith plugins new house_style --family task --out ~/plugins
"""
_TEST = """Examples:

\b
  tunesmith plugins test tunesmith-top-nsigma     a distribution
  tunesmith plugins test my_module                a module that is not installed yet
  tunesmith plugins test sampler.min_p --set min_p.p=0.2
"""


def add_to(plugins: typer.Typer) -> None:
    """Add the commands to `tunesmith plugins`."""
    plugins.command("new", epilog=_NEW)(new)
    plugins.command("test", epilog=_TEST)(test)


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The technique's, e.g. top_nsigma.")],
    family: Annotated[str, typer.Option(metavar="FAMILY", help="E.g. sampler, training_method.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where its folder goes.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Write an installable package with a working technique, its test and a README."""
    from tunesmith import scaffold
    from tunesmith.cli import plugin_pages, screen

    made = scaffold.write(name, plugin_pages.family_called(family), out)
    if as_json:
        screen.document(made.record())
        return
    screen.say(f"{made.folder}")
    for path in made.files:
        screen.say(f"  {path}")
    screen.say("\nNext:")
    for command in made.next():
        screen.say(f"  {command}")


def test(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A distribution, a plugin, or a module.")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME.OPTION=VALUE", help="Try a technique with an option set."
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.1, help="How long one contract may take."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try what the families promise on every technique of a plugin; exit code 1 if one fails."""
    from tunesmith.cli import plugin_trial, screen

    options = plugin_trial.options(settings or [])
    with screen.kept_for_json(as_json):
        report = plugin_trial.tried(target, options, timeout, quiet=as_json)
    found: dict[str, Any] = report.record()
    if as_json:
        screen.document(found)
    else:
        plugin_trial.show(report)
    if not report.passed:
        raise typer.Exit(1)
