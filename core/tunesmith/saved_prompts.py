"""Saved prompts in a config: what an alias means is decided once, when a run is planned.

``{name: saved, prompt: short@production}`` becomes ``{name: saved, prompt: short@3}`` with all that
this version says beside it. So the run's own config tells what was asked, the stage key depends on
it, and an alias that moves later changes nothing about the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tunesmith.errors import ConfigError
from tunesmith.records import Spec

if TYPE_CHECKING:
    from tunesmith.config import Lifecycle
    from tunesmith.store import Store

STYLE = "saved"
"""The prompt style that asks as a saved prompt says."""
KEYS = ("system", "template", "style", "shots", "sampler")
"""What a saved prompt consists of; options of that style."""


def content_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole content that some options describe, defaults filled in.

    Raises ConfigError for options that are wrong or make no sense together.
    """
    from tunesmith import plugins
    from tunesmith.techniques import PromptStyle

    style = plugins.build(PromptStyle, {"name": STYLE, **options})
    if problems := style.problems():
        raise ConfigError(" ".join(problems))
    whole = style.model_dump(mode="json")
    return {key: whole[key] for key in KEYS}


def settled(config: Lifecycle, store: Store) -> Lifecycle:
    """Return the config with every saved prompt as the version it stands for now.

    Raises StoreError for a prompt that is not saved, ConfigError for one that was changed by hand.
    """
    if config.evaluate is None:
        return config
    whole = config.model_dump(mode="json")
    for task in whole["evaluate"]["tasks"]:
        if "style" in task:
            task["style"] = settled_style(task["style"], lambda: store)
    return type(config).model_validate(whole)


def settled_style(style: Any, store: Callable[[], Store]) -> Any:
    """Return a style's spec with its saved prompts resolved; the store is opened if needed."""
    if not isinstance(style, dict):
        return style
    if style.get("name") == STYLE and style.get("prompt"):
        return _resolved(style, store())
    return {key: settled_style(value, store) for key, value in style.items()}


def _resolved(style: Spec, store: Store) -> Spec:
    from tunesmith.store import saved_prompts

    found = saved_prompts.resolve(store, str(style["prompt"]))
    own = {key: value for key, value in style.items() if key not in ("name", "prompt")}
    if changed := [key for key, value in own.items() if found.content.get(key) != value]:
        raise ConfigError(
            f"The prompt {found.ref} has another {changed[0]} than the config gives beside it. A"
            " saved prompt is used as it was saved: leave the option out, or save a new version."
        )
    return {"name": STYLE, "prompt": found.ref, **found.content}


def used(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the saved prompts that a run's config names: where, and which version."""
    tasks = (config.get("evaluate") or {}).get("tasks") or []
    return [
        (f"{task.get('name')}", ref)
        for task in tasks
        if isinstance(task, dict)
        for ref in _refs(task.get("style"))
    ]


def _refs(style: Any) -> Iterator[str]:
    if isinstance(style, dict):
        if style.get("name") == STYLE and style.get("prompt"):
            yield str(style["prompt"])
        for value in style.values():
            yield from _refs(value)
