"""Commands about prompts: what a model is asked, and which way of asking works best."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli import prompt_versions
from tunesmith.cli.options import AsJson, Overrides


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    prompt = typer.Typer(
        help="What a model is asked, which way of asking works best, and saved prompts.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    prompt.command("show", epilog=_SHOW)(show)
    prompt.command("compare", epilog=_COMPARE)(compare)
    prompt_versions.add_to(prompt)
    app.add_typer(prompt, name="prompt")


_SHOW = """Examples:

\b
  tunesmith prompt show maths_reasoning --style few_shot
  tunesmith prompt show maths_reasoning --style '{name: few_shot, selection: most_similar}'
  tunesmith prompt show lifecycle.yaml --item maths-4f536e9347678dc1-cot --json

The model is not run: where a later call quotes an earlier answer, its place is marked.
"""
_COMPARE = """Examples:

\b
  tunesmith prompt compare builtin:nano --task maths_reasoning --items 20
  tunesmith prompt compare models/mine --task maths_reasoning --data rows.jsonl --out styles.html \\
    --styles 'zero_shot, {name: few_shot, shots: 8}, {name: self_consistency, samples: 16}'

The first style is the one that the others are compared with.
"""
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="FILE", help="Rows, or a lifecycle that has some [the nano world]."
    ),
]


def show(
    target: Annotated[
        str,
        typer.Argument(metavar="FILE|TASK", help="A lifecycle's YAML file, or the name of a task."),
    ],
    overrides: Overrides = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Of a lifecycle: which task [its first exam].")
    ] = None,
    style: Annotated[
        str | None,
        typer.Option(
            "--style", help="A name, or {name: ..., options} [the exam's, else zero_shot]."
        ),
    ] = None,
    item: Annotated[
        str | None, typer.Option("--item", metavar="ID", help="Which test row [the first].")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="Whose template and tokens [the lifecycle's or builtin:nano]."
        ),
    ] = None,
    data: Data = None,
    tokens: Annotated[bool, typer.Option("--tokens/--no-tokens", help="Show every token.")] = True,
    as_json: AsJson = False,
) -> None:
    """Show exactly what a model is asked: messages, the template's text, token ids and pieces."""
    from tunesmith.cli import prompt_pages, screen

    asked = prompt_pages.wanted(target, overrides or [], task, style, model, data)
    found = prompt_pages.seen(asked, overrides or [], item)
    if as_json:
        screen.document(found)
    else:
        prompt_pages.show(found, tokens=tokens)


def compare(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="builtin:nano, a folder, or a Hub id.")
    ],
    task: Annotated[str, typer.Option("--task", help="What is asked.")],
    styles: Annotated[
        str, typer.Option("--styles", metavar="LIST", help="Names, or {name: ..., options}.")
    ] = "zero_shot,chain_of_thought,few_shot",
    items: Annotated[int, typer.Option("--items", min=1, help="How many test rows.")] = 50,
    data: Data = None,
    sampler: Annotated[
        str, typer.Option("--sampler", help="How answers are drawn, where the style does not say.")
    ] = "greedy",
    engine: Annotated[str, typer.Option("--engine", help="What runs the model.")] = "transformers",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides all that is drawn.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Draw it: a file ending with .html, .png or .svg.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare prompt styles on the same items, with paired intervals."""
    from tunesmith.cli import prompt_compare, screen

    prompt_compare.checked_out(out)
    with screen.kept_for_json(as_json):
        wanted = prompt_compare.contest(model, task, styles, items, data, sampler, engine, seed)
        result = prompt_compare.held(wanted)
    if as_json:
        screen.document(prompt_compare.facts(result))
    else:
        prompt_compare.show(result)
    if out is not None:
        path = prompt_compare.write(result, out)
        if not as_json:
            screen.say(f"Wrote {path}.")
