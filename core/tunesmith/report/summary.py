"""The report's numbers as JSON: for scripts, and for the table a run ends with."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from tunesmith.evidence.measurements import Measurement
from tunesmith.report import sentences
from tunesmith.report.facts import EvidenceFacts, RunFacts
from tunesmith.report.gather import gather
from tunesmith.store import Store


def summary(store: Store, run_id: str) -> dict[str, Any]:
    """Return what the report says in numbers; what is not a number is null."""
    found: dict[str, Any] = plain(summarise(gather(store, run_id)))
    return found


def summarise(facts: RunFacts) -> dict[str, Any]:
    """Return the numbers of facts that were gathered already."""
    return {
        "run": facts.id,
        "name": facts.name,
        "status": facts.status,
        "reason": facts.reason,
        "seed": facts.seed,
        "simulated": facts.simulated,
        "by_model": facts.by_model,
        "feedback": dict(facts.feedback.quality) if facts.feedback else {},
        "seconds": facts.seconds,
        "prompts": [{"task": task, "prompt": ref} for task, ref in facts.prompts],
        "headlines": sentences.headlines(facts),
        "stages": [
            {
                "stage": stage.name,
                "status": stage.status,
                "cached": stage.cached,
                "seconds": stage.seconds,
                "artifact": stage.artifact,
                "reason": stage.reason,
            }
            for stage in facts.stages
        ],
        "reward": asdict(facts.reward) if facts.reward else None,
        "problems": list(facts.problems),
        **(_evidence(facts.evidence) if facts.evidence else {}),
    }


def _evidence(evidence: EvidenceFacts) -> dict[str, Any]:
    return {
        "scores": [_number(m) for m in evidence.alone()],
        "differences": [
            _number(m) | {"baseline": m.baseline, "words": m.significance()}
            for m in evidence.differences()
        ],
        "win_rates": [
            _number(m)
            | {
                "baseline": m.name.partition(":")[2],
                "words": sentences.against_half(m),
                "method": m.method,
                "judged_by": evidence.judged_by,
            }
            for m in evidence.wins()
        ],
        "sizes": [
            {
                "model": one.model,
                "engine": one.engine,
                "bytes": one.bytes,
                "bits_per_weight": one.bits_per_weight,
                "size_ratio": one.bits_per_weight / 32,
                "tokens_per_second": evidence.speeds.get(one.model),
            }
            for one in evidence.footprints
        ],
        "gates": [
            {"gate": one.gate, "passed": one.passed, "reason": one.reason}
            for one in evidence.verdicts
        ],
    }


def _number(m: Measurement) -> dict[str, Any]:
    task, _, style = m.name.partition(":")
    return {
        "task": m.task or task,
        "style": style or "zero_shot",
        "model": m.model,
        "value": m.value,
        "low": m.low,
        "high": m.high,
        "n": m.n,
    }


def plain(value: Any) -> Any:
    """Return the value as JSON knows it: no tuples, and null for what is not finite."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
