"""Commands about the configuration itself."""

from __future__ import annotations

import typer

from tunesmith.cli.options import AsJson, File, Overrides


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    config = typer.Typer(
        help="What a lifecycle file may say.", no_args_is_help=True, rich_markup_mode=None
    )
    config.command("schema", epilog=_SCHEMA)(schema)
    config.command("show", epilog=_SHOW)(show)
    app.add_typer(config, name="config")


_SCHEMA = """Example, for completion and checks in an editor:

\b
  tunesmith config schema > lifecycle.schema.json
  # first line of lifecycle.yaml:
  # yaml-language-server: $schema=lifecycle.schema.json
"""
_SHOW = """Example:

\b
  tunesmith config show lifecycle.yaml --set seed=3
"""


def schema() -> None:
    """Write the JSON schema, with the options of every installed technique."""
    from tunesmith.cli.screen import document
    from tunesmith.config_schema import json_schema

    document(json_schema())


def show(file: File, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Show a configuration as a run would see it: overrides applied, defaults filled in."""
    import sys

    import yaml

    from tunesmith.cli.screen import document
    from tunesmith.config import load_config

    config = load_config(file, overrides or []).model_dump(mode="json")
    if as_json:
        document(config)
    else:
        sys.stdout.write(yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100))
