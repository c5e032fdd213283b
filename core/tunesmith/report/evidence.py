"""What the evaluation measured, read back from its artifact."""

from __future__ import annotations

from collections.abc import Mapping

from tunesmith.evidence.measurements import Duel, Footprint, Measurement, Verdict
from tunesmith.report import files
from tunesmith.report.facts import EvidenceFacts
from tunesmith.store import Store


def read_evidence(store: Store, artifact_id: str, speeds: Mapping[str, float]) -> EvidenceFacts:
    """Return measurements, verdicts and duels; ``speeds`` is no evidence, so it comes beside."""
    setting = files.read_json(store, artifact_id, "setting.json")
    return EvidenceFacts(
        measurements=[
            Measurement(**one) for one in files.read_json(store, artifact_id, "measurements.json")
        ],
        verdicts=[Verdict(**one) for one in files.read_json(store, artifact_id, "verdicts.json")],
        duels=[Duel(**one) for one in files.read_lines(store, artifact_id, "duels.jsonl")],
        footprints=[
            Footprint(**one) for one in files.read_json(store, artifact_id, "footprints.json")
        ],
        judged_by=str(setting.get("judged_by") or ""),
        seed=int(setting.get("seed") or 0),
        speeds=speeds,
    )
