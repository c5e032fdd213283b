"""What came of trying contracts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Outcome = Literal["kept", "broken", "skipped"]


@dataclass(frozen=True, slots=True)
class Result:
    """One contract tried on one technique."""

    family: str
    technique: str
    plugin: str
    distribution: str
    version: str
    contract: str
    promise: str
    outcome: Outcome
    sentence: str = ""
    """Why it is broken or was skipped, for the technique's author."""

    @property
    def label(self) -> str:
        """Return the technique with its plugin and distribution."""
        origin = f"{self.plugin} of {self.distribution} {self.version}"
        return f"{self.family} {self.technique!r} (plugin {origin})"

    def __str__(self) -> str:
        return f"{self.label} {self.sentence}."


@dataclass(frozen=True, slots=True)
class Report:
    """All results, and what kept the plugin itself from being loaded."""

    target: str
    results: Sequence[Result] = ()
    troubles: Sequence[str] = field(default=())
    """Sentences about plugins that could not be loaded, or offer a name twice."""

    @property
    def broken(self) -> list[Result]:
        """Return the contracts that are not kept."""
        return [one for one in self.results if one.outcome == "broken"]

    @property
    def passed(self) -> bool:
        """Say whether something was tried and everything tried was kept."""
        return bool(self.results) and not self.broken and not self.troubles

    def sentences(self) -> list[str]:
        """Return one sentence per trouble and per broken contract."""
        return [*self.troubles, *map(str, self.broken)]

    def record(self) -> dict[str, Any]:
        """Return everything as JSON."""
        return {
            "target": self.target,
            "passed": self.passed,
            "troubles": list(self.troubles),
            "results": [asdict(one) for one in self.results],
        }
