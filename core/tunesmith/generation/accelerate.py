"""Switch accelerators on in the engine they are for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from tunesmith.errors import ConfigError
from tunesmith.techniques import Accelerator, Engine


def with_accelerators(engine: Engine, accelerators: Sequence[Accelerator]) -> Engine:
    """Return the engine with every accelerator's options set.

    Raises ConfigError for an accelerator of another engine, for two that want different things,
    and for an option that the engine does not have.
    """
    options: dict[str, Any] = {}
    for accelerator in accelerators:
        _check_fits(engine, accelerator)
        _merge(options, accelerator, engine.name)
    try:
        return type(engine).model_validate({**engine.model_dump(), **options})
    except ValidationError as error:
        names = ", ".join(accelerator.name for accelerator in accelerators)
        problem = error.errors()[0]
        option = "".join(f"{part}: " for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        raise ConfigError(
            f"The engine {engine.name!r} does not take what {names} sets: {option}{message}."
        ) from error


def fits(engine: Engine, accelerator: Accelerator) -> bool:
    """Say whether an accelerator is for this engine."""
    return engine.name in accelerator.runs_on()


def _check_fits(engine: Engine, accelerator: Accelerator) -> None:
    if not fits(engine, accelerator):
        meant = accelerator.runs_on()
        named = " or ".join(map(repr, meant))
        raise ConfigError(
            f"The accelerator {accelerator.name!r} is for the engine {named}, and this model"
            f" runs on {engine.name!r}. Leave it out, or choose engine: {meant[0]}."
        )


def _merge(options: dict[str, Any], accelerator: Accelerator, engine: str) -> None:
    for option, value in accelerator.options_for(engine).items():
        if options.setdefault(option, value) != value:
            raise ConfigError(
                f"The accelerator {accelerator.name!r} sets {option} to {value!r}, and another one"
                f" already set it to {options[option]!r}. Choose one of them."
            )
