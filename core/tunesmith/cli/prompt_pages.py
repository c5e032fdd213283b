"""A prompt as the model gets it: every call's messages, the template's text, and the tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.text import Text

from tunesmith import plugins
from tunesmith.cli.prompt_items import is_config, items_of, technique
from tunesmith.cli.screen import console, say
from tunesmith.config import Lifecycle, load_config, named
from tunesmith.errors import ConfigError
from tunesmith.prompts import label
from tunesmith.records import Completion, Message
from tunesmith.saved_prompts import settled_style
from tunesmith.techniques import PromptStyle, Sampler, Task

BUILTIN = "builtin:nano"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked: a task in a style, of whose rows, in whose tokens."""

    task: Task
    style: PromptStyle
    model: str
    data: Path | None


def wanted(
    target: str,
    overrides: Sequence[str],
    task: str | None,
    style: str | None,
    model: str | None,
    data: Path | None,
) -> Asked:
    """Return what a lifecycle or a task's name means, changed by the options."""
    if is_config(target):
        config = load_config(Path(target), overrides)
        spec, own = _exam(config, task)
        model, data = model or config.model, data or Path(target)
    else:
        if task is not None:
            raise ConfigError(f"{target!r} names the task already; leave --task out.")
        spec, own = {"name": target}, {"name": "zero_shot"}
    chosen = technique(style, "--style") if style else own
    return Asked(plugins.build(Task, spec), style_of(chosen), model if model else BUILTIN, data)


def _exam(config: Lifecycle, task: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the config's first exam of a task, or its first exam: the task and the style."""
    exams = [dict(spec) for spec in config.evaluate.tasks] if config.evaluate else []
    fitting = [spec for spec in exams if task in (None, spec.get("name"))]
    if fitting:
        style = named(fitting[0].pop("style", "zero_shot"))
        return fitting[0], style
    if task is None:
        raise ConfigError(f"{config.name} has no evaluate.tasks. Name a task with --task.")
    return {"name": task}, {"name": "zero_shot"}


def style_of(spec: dict[str, Any]) -> PromptStyle:
    """Return a style that has no objections to its own options."""
    from tunesmith import store as stores

    style = plugins.build(PromptStyle, settled_style(spec, stores.open))
    if problems := style.problems():
        raise ConfigError(" ".join(problems))
    return style


@dataclass(slots=True)
class Recorder:
    """Notes what a style asks; the model is not run, so its answers are stood in for."""

    calls: list[dict[str, Any]] = field(default_factory=list)

    def __call__(
        self,
        conversations: Sequence[list[Message]],
        sampler: Sampler | None = None,
        n: int = 1,
        max_new_tokens: int | None = None,
    ) -> list[list[Completion]]:
        """Return a placeholder for every answer; see `Ask`."""
        self.calls.append(
            {
                "samples": n,
                "sampler": {"name": sampler.name, **sampler.model_dump()} if sampler else None,
                "max_new_tokens": max_new_tokens,
                "messages": conversations[0],
            }
        )
        answer = Completion([], f"[the model's answer to call {len(self.calls)}]", "stop")
        return [[answer] * n for _ in conversations]


def seen(asked: Asked, overrides: Sequence[str], item: str | None) -> dict[str, Any]:
    """Return one item's prompts in full, as JSON."""
    from tunesmith.models import inspect_model, load_tokenizer, resolve_model

    if problems := asked.style.problems_with_task(asked.task):
        raise ConfigError(" ".join(problems))
    items = items_of(asked.task, asked.data, overrides)
    row, recorder = items.one(item), Recorder()
    asked.style.answers(asked.task, [row], items.shots, recorder)
    folder = resolve_model(BUILTIN if asked.model == "scratch" else asked.model)
    tokenizer, context = load_tokenizer(folder), inspect_model(folder).context
    return {
        "task": asked.task.name,
        "style": label(asked.style),
        "item": str(row["id"]),
        "question": asked.task.question(row),
        "reference": row.get("reference"),
        "model": asked.model,
        "context": context,
        "calls": [_rendered(asked.task, tokenizer, context, call) for call in recorder.calls],
    }


def _rendered(
    task: Task, tokenizer: Any, context: int | None, call: dict[str, Any]
) -> dict[str, Any]:
    from tunesmith.chat import encode_prompt, prompt_text

    ids = encode_prompt(tokenizer, call["messages"])
    longest = call["max_new_tokens"] or task.max_new_tokens
    return call | {
        "max_new_tokens": longest,
        "text": prompt_text(tokenizer, call["messages"]),
        "tokens": len(ids),
        "fits": context is None or len(ids) + longest <= context,
        "ids": ids,
        "pieces": [tokenizer.decode([one]) for one in ids],
    }


def show(found: dict[str, Any], *, tokens: bool) -> None:
    """Write the prompts for people."""
    say(f"{found['task']} in the style {found['style']}, item {found['item']}")
    for number, call in enumerate(found["calls"], 1):
        _show_call(number, call, found, tokens=tokens)


def _show_call(number: int, call: dict[str, Any], found: dict[str, Any], *, tokens: bool) -> None:
    which = f"call {number} of {len(found['calls'])}, " if len(found["calls"]) > 1 else ""
    times = f"sampled {call['samples']} times with {_sampler(call)}, " if call["sampler"] else ""
    room = "" if call["fits"] else " (TOO LONG)"
    holds = f" of {found['context']:,}" if found["context"] else ""
    say(
        f"\n{which}{times}{call['tokens']:,} tokens and up to {call['max_new_tokens']} more"
        f"{holds}{room}"
    )
    for message in call["messages"]:
        console().print(Text.assemble((f"{message['role']}: ", "bold"), message["content"]))
    say("\nas the template writes it:")
    say(call["text"])
    if tokens:
        say("\nas tokens:")
        _show_tokens(call)


def _sampler(call: dict[str, Any]) -> str:
    options = [f"{key} {value}" for key, value in call["sampler"].items() if key != "name"]
    return " ".join([call["sampler"]["name"], *options])


def _show_tokens(call: dict[str, Any]) -> None:
    pieces = Text()
    for at, (number, piece) in enumerate(zip(call["ids"], call["pieces"], strict=True)):
        pieces.append(repr(piece)[1:-1].replace(" ", "·"), style="cyan" if at % 2 else "")
        pieces.append(f"/{number}  ", style="dim")
    console().print(pieces, soft_wrap=True)
