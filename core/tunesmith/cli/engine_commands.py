"""Commands about engines: which there are, and which is fastest here for a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli.options import AsJson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tunesmith.generation.engine_choice import Choice


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    engines = typer.Typer(
        help="What runs models, and how fast.", no_args_is_help=True, rich_markup_mode=None
    )
    engines.command("list")(list_engines)
    engines.command("measure", epilog=_MEASURE)(measure)
    app.add_typer(engines, name="engines")


_MEASURE = """Examples:

\b
  tunesmith engines measure builtin:nano
  tunesmith engines measure models/small --streams 1,8,32 --new 128
  tunesmith engines measure models/small --quantizer gguf --quantizer ctranslate2
  tunesmith engines measure models/small --engine ctranslate2
      --engine '{name: llamacpp, threads: 1}'
  tunesmith engines measure artifacts/quantized --sampler '{name: top_p, p: 0.9}'

Every engine that runs the model at its own precision is measured in interleaved rounds; one whose
greedy answers are not the reference's is dropped. With --quantizer, what that quantizer makes of
the model is measured too. Results are kept in the home folder until a version changes.
"""


def list_engines(as_json: AsJson = False) -> None:
    """Show the engines, whether each can be used, and what was measured on this machine."""
    from tunesmith.cli import screen
    from tunesmith.generation.engine_records import machine, stored

    here = machine()
    known = [one for one in stored() if one["question"]["machine"] == here]
    rows = list(_engines())
    if as_json:
        screen.document({"engines": rows, "machine": here, "measured": known})
        return
    screen.table(
        ("engine", "", "needs", "what it does"),
        [(one["name"], one["state"], ", ".join(one["needs"]), one["does"]) for one in rows],
    )
    if not known:
        screen.say("Nothing was measured here yet; `tunesmith engines measure MODEL` does.")
        return
    screen.table(("model", "streams", "sampler", "fastest", "tokens/s", "when"), map(_line, known))


def _engines() -> Iterator[dict[str, Any]]:
    import importlib.util

    from tunesmith.plugins import host
    from tunesmith.techniques import Engine

    for name, kind in sorted(host().available(Engine).items()):
        missing = [one for one in kind.needs if importlib.util.find_spec(one) is None]
        state = f"pip install {' '.join(missing)}" if missing else "ready"
        does = (kind.__doc__ or "").strip().splitlines()[0]
        yield {"name": name, "state": state, "needs": list(kind.needs), "does": does}


def _line(one: dict[str, Any]) -> tuple[str, ...]:
    asked, answer = one["question"], one["answer"]
    model, work = asked["model"], asked["workload"]
    pick = next(rate for rate in answer["rates"] if rate["label"] == answer["pick"])
    rate = sorted(pick["rates"])[len(pick["rates"]) // 2]
    shape = (
        f"{(model.get('architectures') or ['?'])[0]} {model.get('num_hidden_layers', '?')} x"
        f" {model.get('hidden_size', '?')} {model['stored']}"
    )
    return (
        shape,
        str(work["streams"]),
        str(work["sampler"]["name"]),
        answer["pick"],
        f"{rate:,.0f}",
        one["measured"],
    )


def measure(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model folder, builtin:nano, or a Hub id.")
    ],
    streams: Annotated[
        str, typer.Option("--streams", metavar="N,N", help="Answers written together.")
    ] = "1,8,32",
    prompt: Annotated[int, typer.Option("--prompt", min=1, help="Tokens of a prompt.")] = 64,
    new: Annotated[int, typer.Option("--new", min=1, help="New tokens of an answer.")] = 32,
    sampler: Annotated[
        str, typer.Option("--sampler", help="A name, or {name: ..., option: ...}.")
    ] = "greedy",
    engines: Annotated[
        list[str] | None,
        typer.Option("--engine", help="This one, by name or with options; may be repeated."),
    ] = None,
    quantizers: Annotated[
        list[str] | None,
        typer.Option("--quantizer", help="Measure what it would make too; may be repeated."),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Interleaved rounds.")] = 3,
    again: Annotated[bool, typer.Option("--again", help="Measure what is known anew.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure which engine runs a model fastest on this machine."""
    from tunesmith.cli import screen
    from tunesmith.generation.engine_choice import choose
    from tunesmith.generation.racing import Workload
    from tunesmith.models import resolve_model

    among = [_spec(text) for text in engines or []]
    folder = resolve_model(model)
    makers = [_spec(text) for text in quantizers or []]
    found = []
    for count in _counts(streams):
        workload = Workload(count, prompt, new, _spec(sampler))
        with screen.kept_for_json(as_json):
            choice = choose(folder, workload, among, makers, again=again, rounds=rounds)
        found.append(choice)
        if not as_json:
            _show(choice)
    if as_json:
        screen.document([choice.facts() for choice in found])


def _counts(text: str) -> list[int]:
    from tunesmith.errors import ConfigError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise ConfigError(f"--streams takes whole numbers from 1, such as 1,8,32; got {text!r}.")
    return [int(part) for part in parts]


def _spec(text: str) -> Any:
    from tunesmith.yamltext import scalar

    found = scalar(text, "the command line")
    return found if isinstance(found, dict) else text


def _show(choice: Choice) -> None:
    from tunesmith.cli import screen

    told = "" if choice.measured else " (known already; --again measures anew)"
    if not choice.pick.rates:
        told = " (the only one that can run this)"
    screen.say(f"{choice.workload.streams} streams: {choice.pick.label}{told}")
    for one in choice.rates:
        if one.dropped:
            screen.say(f"  {one.label:28} dropped: {one.dropped}")
        elif one.median is not None:
            screen.say(f"  {one.label:28}{one.median:10,.1f} tokens/s")
