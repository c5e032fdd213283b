"""The command that proves an accelerator on one's own model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli.options import AsJson

if TYPE_CHECKING:
    from tunesmith.generation.proof import Proof
    from tunesmith.techniques import Accelerator, Engine


def add_to(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog=_PROVE)(prove)


_PROVE = """Examples:

\b
  tunesmith prove builtin:nano
  tunesmith prove models/small --accelerator speculative_prompt_lookup
  tunesmith prove models/large
      --accelerator '{name: speculative_draft_model, model: models/small, tokens: 6}'
  tunesmith prove models/gguf --engine '{name: llamacpp, parallel: 4}' --prompts asked.txt

Exit code 1 means that one of them changes answers. A mismatch counts as a tie only where the engine
prefers its own token by less than its own margins move when it answers alone instead of in company.
"""


def prove(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model folder, builtin:nano, or a Hub id.")
    ],
    engine: Annotated[
        str | None,
        typer.Option("--engine", help="The engine; by default the one that reads the folder."),
    ] = None,
    accelerators: Annotated[
        list[str] | None,
        typer.Option(
            "--accelerator",
            help="A name, or {name: ..., option: ...}. May be repeated; by default every one.",
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", metavar="FILE", help="One prompt a line, or JSON lines."),
    ] = None,
    new: Annotated[int, typer.Option("--new", min=1, help="Longest answer, in tokens.")] = 64,
    draws: Annotated[
        int, typer.Option("--draws", min=0, help="Answers drawn to each of three prompts.")
    ] = 300,
    as_json: AsJson = False,
) -> None:
    """Prove that accelerators leave a model's answers as they are."""
    from tunesmith.cli import screen
    from tunesmith.models import resolve_model

    folder = resolve_model(model)
    chosen = _engine(engine, folder)
    with screen.kept_for_json(as_json):
        proofs = _proofs(chosen, accelerators or [], folder, prompts, new, draws)
    if as_json:
        screen.document([proof.facts() for proof in proofs])
    else:
        for proof in proofs:
            _show(proof)
    if not all(proof.lossless for proof in proofs):
        raise typer.Exit(1)


def _engine(spec: str | None, folder: Path) -> Engine:
    from tunesmith.generation.exporting import reader
    from tunesmith.plugins import build
    from tunesmith.techniques import Engine

    return reader(folder) if spec is None else build(Engine, _spec(spec))


def _spec(text: str) -> Any:
    """Return a technique as a config would write it: a name, or a mapping with options."""
    from tunesmith.yamltext import scalar

    found = scalar(text, "the command line")
    return found if isinstance(found, dict) else text


def _accelerators(engine: Engine, specs: Sequence[str]) -> list[Accelerator]:
    from tunesmith.errors import ConfigError
    from tunesmith.plugins import build, host
    from tunesmith.techniques import Accelerator

    if specs:
        return [build(Accelerator, _spec(spec)) for spec in specs]
    known = host().available(Accelerator)
    fitting = [
        build(Accelerator, name)
        for name, one in sorted(known.items())
        if engine.name in one.runs_on() and not _demands(one) and name != "attention"
    ]
    if not fitting:
        raise ConfigError(
            f"No installed accelerator is for the engine {engine.name!r} without options."
            f" Name one with --accelerator. Installed: {', '.join(sorted(known))}."
        )
    return fitting


def _demands(technique: type[Accelerator]) -> bool:
    return any(field.is_required() for field in technique.model_fields.values())


def _proofs(
    engine: Engine,
    specs: Sequence[str],
    folder: Path,
    prompts: Path | None,
    new: int,
    draws: int,
) -> list[Proof]:
    from tunesmith.generation.proof import prove as prove_one
    from tunesmith.generation.proof_prompts import PROMPTS, asked_of, read_prompts

    asked = read_prompts(prompts) if prompts else list(PROMPTS)
    ids, stops = asked_of(folder, asked, new)
    return [
        prove_one(engine, [one], folder, ids, stops, new, draws)
        for one in _accelerators(engine, specs)
    ]


def _show(proof: Proof) -> None:
    from tunesmith.cli import screen

    screen.say(proof.sentence())
    for one in proof.mismatches:
        margin = "unknown" if one.margin is None else f"{one.margin:.2g}"
        verdict = "a tie" if one.tie else "NOT a tie"
        screen.say(
            f"  prompt {one.prompt}, after {one.place} equal tokens: {one.plain} became {one.fast};"
            f" margin {margin}, {verdict}"
        )
    if proof.own_error is not None:
        screen.say(f"  the engine's own margins move by up to {proof.own_error:.2g} with company")
    if proof.counts:
        screen.say("  " + ", ".join(f"{name} {count}" for name, count in proof.counts.items()))
