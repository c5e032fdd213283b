"""What a contract is: one promise of a family, tried on one technique."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from tunesmith.plugin_host import Provenance, explain
from tunesmith.techniques import Technique

LIGHT, HEAVY = 20.0, 180.0
"""Seconds a contract may take; the second is for those that run a model."""


class Breach(Exception):
    """Raised when a promise is not kept; the message is a sentence for the technique's author."""


class NotTried(Exception):
    """Raised when a promise cannot be tried here; the message says why."""


class NotBuilt(Exception):
    """Raised when no instance can be made, so that nothing else can be tried."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A technique under trial: its class, where it is from, its options and an empty folder."""

    kind: type[Technique]
    where: Provenance
    options: dict[str, Any]
    folder: Path
    heavy: tuple[str, ...] = ()
    """Heavy libraries that its plugin imported in order to be listed."""
    seconds: float = 0.0
    """Processor time that loading its plugin took."""

    def build(self) -> Any:
        """Return an instance; raise NotBuilt in words."""
        lacking = [
            key
            for key, field in self.kind.model_fields.items()
            if field.is_required() and key not in self.options
        ]
        if lacking:
            raise NotBuilt(
                f"needs the option {lacking[0]!r}, and the kit does not know a value for it; give"
                f" an example: `{lacking[0]}: ... = Field(examples=[...])`"
            )
        try:
            return self.kind(**self.options)
        except ValidationError as error:
            raise NotBuilt(f"cannot be built: {explain(error, self.kind).rstrip('.')}") from error


@dataclass(frozen=True, slots=True)
class Contract:
    """One promise. The first line of the check's docstring says it."""

    check: Callable[[Subject], None]
    seconds: float = LIGHT
    warm: Literal["", "plugins", "torch", "model"] = ""
    """What is got ready before the clock starts: all other plugins, torch, or a tiny model."""

    @property
    def name(self) -> str:
        """What results call it."""
        return self.check.__name__

    @property
    def promise(self) -> str:
        """The promise in one line."""
        return (self.check.__doc__ or "").partition("\n")[0].rstrip(".")


def with_model(check: Callable[[Subject], None]) -> Contract:
    """Return a contract that is tried on a tiny model."""
    return Contract(check, HEAVY, "model")


def with_torch(check: Callable[[Subject], None]) -> Contract:
    """Return a contract that needs tensors and no model."""
    return Contract(check, warm="torch")


def plainly(*checks: Callable[[Subject], None]) -> tuple[Contract, ...]:
    """Return contracts that need no model."""
    return tuple(Contract(check) for check in checks)


def shown(value: object, longest: int = 80) -> str:
    """Return a value short enough for a sentence."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}..."


def must_be(value: object, kind: type | tuple[type, ...], verb: str, wanted: str) -> None:
    """Raise Breach unless a verb's result is of a kind."""
    # True is an int to Python, and a mistake in every place where a number is meant.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind in (int, (int, float))):
        raise Breach(f"{verb} must return {wanted}; it returned {shown(value)}")


def must_be_json(value: object, what: str) -> None:
    """Raise Breach unless a value can be stored as JSON."""
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        raise Breach(f"{what} cannot be stored as JSON ({error}): {shown(value)}") from error
