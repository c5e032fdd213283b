"""What a request may name: techniques that stay inside the server's process and folders.

Whoever may send a request is not thereby somebody who may read this machine's files, or have its
environment variables sent to a server of their choice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, get_args

from tunesmith import plugins
from tunesmith.endpoints import Endpoint
from tunesmith.errors import ConfigError
from tunesmith.nesting import nested_in
from tunesmith.places import named_in
from tunesmith.techniques import RewardModel, Technique

T = TypeVar("T", bound=Technique)


def asked_for(family: type[T], spec: Any) -> T:
    """Build a technique that a request names.

    Raises ConfigError for one that is wrong, or that would open a folder, load a reward model or
    ask another server, by itself or by anything inside it.
    """
    for place in named_in(family, {"name": spec} if isinstance(spec, str) else spec):
        _refuse_reaching(plugins.build(place.family, place.spec))
    return plugins.build(family, spec)


def _refuse_reaching(technique: Technique) -> None:
    far = isinstance(technique, Endpoint | RewardModel) or any(
        Path in (field.annotation, *get_args(field.annotation))
        for field in type(technique).model_fields.values()
    )
    if far:
        raise ConfigError(
            f"{technique.name} opens folders or asks other servers, which a request may not have"
            " done. Name another technique, or use this one in a lifecycle."
        )
    for inner in nested_in(technique).values():
        _refuse_reaching(inner)
