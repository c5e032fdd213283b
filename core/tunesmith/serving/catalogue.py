"""What this server can be asked for besides OpenAI's parameters: styles, samplers, tasks."""

from __future__ import annotations

from typing import Any

from tunesmith import plugins
from tunesmith.techniques import PromptStyle, Sampler, Task, Technique


def techniques() -> dict[str, Any]:
    """Return the installed styles, samplers and tasks with their options, as JSON."""
    families: dict[str, type[Technique]] = {
        "styles": PromptStyle,
        "samplers": Sampler,
        "tasks": Task,
    }
    return {key: [_about(one) for one in _known(family)] for key, family in families.items()}


def _known(family: type[Technique]) -> list[type[Technique]]:
    return list(plugins.host().available(family).values())


def _about(technique: type[Technique]) -> dict[str, Any]:
    line = ((technique.__doc__ or "").strip().splitlines() or [""])[0]
    options = technique.model_json_schema().get("properties", {})
    return {"name": technique.name, "doc": line, "options": options}
