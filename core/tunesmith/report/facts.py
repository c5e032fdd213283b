"""What a report tells, as plain records; ``gather`` fills them and the template reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tunesmith.evidence.choosing import Speed, Trial
from tunesmith.evidence.measurements import Duel, Footprint, Measurement, Verdict
from tunesmith.evidence.statistics import Estimate
from tunesmith.report.inert import Cut
from tunesmith.store.queries import CampaignRow

Curve = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class StageFacts:
    """One stage of the run. ``maker`` is the run that did the work when this one did not."""

    name: str
    status: str
    cached: bool = False
    seconds: float | None = None
    artifact: str | None = None
    reason: str | None = None
    attempts: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    maker: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0
    curves: Mapping[str, Curve] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The data card of the prepared rows."""

    rows: Mapping[str, int]
    tasks: Mapping[str, Mapping[str, int]]
    types: Mapping[str, Mapping[str, int]]
    groups: Mapping[str, int]
    lengths: Mapping[str, Mapping[str, Mapping[str, Mapping[str, int]]]]
    dropped: Mapping[str, int]
    examples: Mapping[str, Mapping[str, Sequence[Mapping[str, str]]]]


@dataclass(frozen=True, slots=True)
class FeedbackFacts:
    """Who judged, and how far they agreed."""

    source: str
    simulated: bool
    annotators: Mapping[str, int]
    agreement: float | None
    labels: int
    pairs: int
    verdicts: Mapping[str, int]
    by_model: bool = False
    """Whether a language model judged instead of people."""
    quality: Mapping[str, float] = field(default_factory=dict)
    """What the source knows of its own labels, e.g. how often places decided."""


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """What a rule gave on the prompts it rewards; see `tunesmith.rule_card`."""

    rows: int
    empty: float
    solved: float
    solved_rows: int
    separates: Estimate


@dataclass(frozen=True, slots=True)
class RewardFacts:
    """The reward model's card and what its gate said."""

    accuracy: Estimate
    ceiling: Estimate
    ceiling_kind: str
    ratio: Estimate
    majority: Estimate
    against_utility: Estimate | None
    longer_wins: Estimate
    calibration_error: float
    bins: Sequence[tuple[float, float, int]]
    length_spearman: float
    ties: int
    tie_gap: float
    pairs: int
    verdict: Verdict
    rule: RuleFacts | None = None
    """Set where a rule rewards, which learnt from nobody; then nothing above is measurable."""


@dataclass(frozen=True, slots=True)
class EvidenceFacts:
    """What was measured, and what the gates made of it. ``speeds`` is tokens per second."""

    measurements: Sequence[Measurement]
    verdicts: Sequence[Verdict]
    duels: Sequence[Duel]
    footprints: Sequence[Footprint]
    judged_by: str
    seed: int
    speeds: Mapping[str, float] = field(default_factory=dict)

    def alone(self) -> list[Measurement]:
        """Return the shares of solved items, which compare nothing."""
        shares = [m for m in self.measurements if m.baseline is None and m.unit == "share"]
        return [m for m in shares if not m.name.startswith("win_rate")]

    def differences(self) -> list[Measurement]:
        """Return the paired differences, models in the order they were made."""
        found = [m for m in self.measurements if m.baseline is not None]
        return sorted(found, key=lambda m: self.models().index(m.model))

    def comparisons(self) -> dict[tuple[str, str], list[Measurement]]:
        """Return the differences by model and baseline."""
        pairs: dict[tuple[str, str], list[Measurement]] = {}
        for one in self.differences():
            pairs.setdefault((one.model, str(one.baseline)), []).append(one)
        return pairs

    def wins(self) -> list[Measurement]:
        """Return the win rates; the name holds the baseline: ``win_rate:tuned``."""
        return [m for m in self.measurements if m.name.startswith("win_rate")]

    def models(self) -> list[str]:
        """Return the models in the order they were made."""
        sized = [footprint.model for footprint in self.footprints]
        return list(dict.fromkeys([*sized, *(m.model for m in self.measurements)]))


@dataclass(frozen=True, slots=True)
class ChoiceFacts:
    """The combinations that the optimise stage tried, and which it took."""

    target: str
    budget: float
    items: int
    chosen: str
    trials: Sequence[Trial]
    speeds: Mapping[str, Speed] = field(default_factory=dict)
    """By combination and by parent; no evidence, so it comes from the ledger."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one model answered; ``correct`` is None where nothing was scored."""

    model: str
    text: Cut
    correct: bool | None = None
    finish: str = "stop"


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt and what every model made of it."""

    task: str
    style: str
    item: str
    prompt: Cut
    answers: Sequence[Said]
    stage: str
    """Where the answers come from: the ``evaluate`` stage, or samples of ``tune`` and ``align``."""


@dataclass(frozen=True, slots=True)
class Node:
    """One artifact of the run, or the model it began with."""

    id: str
    kind: str
    stage: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class LineageFacts:
    """The artifacts of the run in order; edges are places in ``nodes``: (input, made from it)."""

    nodes: Sequence[Node]
    edges: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Everything that a report says of one run."""

    id: str
    name: str
    status: str
    reason: str | None
    created_at: datetime
    finished_at: datetime | None
    seconds: float
    seed: Any
    model: str
    host: str | None
    simulated: bool
    by_model: bool
    stages: Sequence[StageFacts]
    data: DataFacts | None
    feedback: FeedbackFacts | None
    reward: RewardFacts | None
    evidence: EvidenceFacts | None
    choice: ChoiceFacts | None
    questions: Sequence[Question]
    lineage: LineageFacts
    config: Mapping[str, Any]
    versions: Mapping[str, str]
    environment: Mapping[str, Any]
    release: Mapping[str, Any]
    campaigns: Sequence[CampaignRow] = ()
    """Where people label, or have labelled, the pairs of this run."""
    prompts: Sequence[tuple[str, str]] = ()
    """The saved prompts that were asked: of which task, and which version."""
    problems: Sequence[str] = ()
    """What could not be read, one sentence each."""

    def stage(self, name: str) -> StageFacts | None:
        """Return a stage by name, if the run has it."""
        return next((stage for stage in self.stages if stage.name == name), None)
