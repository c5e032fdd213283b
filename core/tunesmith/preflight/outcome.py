"""What preflight found: the stages and their fate, the problems, the warnings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.records import Spec


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where in the config, and (in the same text) what to do about it."""

    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.place else self.text


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A stage before it runs.

    ``status`` is ``cached`` (the artifact is there), ``runs``, ``waits`` (it runs, and then people
    are needed), or ``blocked`` (problems keep it from being planned).
    """

    stage: str
    status: str
    doing: str = ""
    """The techniques it works with, in the config's words."""
    why: str = ""
    """Why it has that status."""
    key: str | None = None
    artifact: str | None = None
    seconds: float | None = None
    """What it took the last time, None where there was none."""


@dataclass(slots=True)
class Plan:
    """Whether a run can start, and what it would do."""

    name: str
    model: str
    stages: list[PlannedStage] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    chosen: dict[str, Spec] = field(default_factory=dict)
    """The engines that measurement chose, by where the config names them; the run stores them."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What is known of model, data and machine, by name; sizes in bytes."""

    def problem(self, place: str, text: str) -> None:
        """Note what must be put right first; the same thing only once."""
        if (found := Problem(place, text)) not in self.problems:
            self.problems.append(found)

    def warn(self, place: str, text: str) -> None:
        """Note what the user should know, though the run may start."""
        if (found := Problem(place, text)) not in self.warnings:
            self.warnings.append(found)

    @property
    def seconds(self) -> float | None:
        """Seconds until the end, or until people are needed; None when a stage has no estimate."""
        pending = [one.seconds for one in self.stages if one.status != "cached"]
        known = [seconds for seconds in pending if seconds is not None]
        return sum(known) if len(known) == len(pending) else None

    @property
    def waits(self) -> bool:
        """Whether the run will stop and wait for people."""
        return any(one.status == "waits" for one in self.stages)

    def require(self) -> Plan:
        """Return the plan; raise one ConfigError that lists every problem there is."""
        if not self.problems:
            return self
        if len(self.problems) == 1:
            raise ConfigError(str(self.problems[0]))
        lines = "\n".join(f"- {one}" for one in self.problems)
        raise ConfigError(f"{len(self.problems)} problems, and nothing was started:\n{lines}")

    def as_json(self) -> dict[str, Any]:
        """Return everything, as JSON."""
        return asdict(self) | {"seconds": self.seconds, "waits": self.waits}
