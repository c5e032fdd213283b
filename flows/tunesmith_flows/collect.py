"""Collect judgements of the pairs: from a source that answers at once, or from people."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from tunesmith import Label, Outcome, Pair, Waiting, plugins
from tunesmith.promises import listed
from tunesmith.store import Store, campaigns
from tunesmith.techniques import FeedbackSource
from tunesmith_flows import staging
from tunesmith_flows.bench import Bench, write_json, write_json_lines
from tunesmith_flows.judgements import read_pairs
from tunesmith_flows.tasks import stage_task


@stage_task(name="collect")
def collect(run_id: str, made: dict[str, str]) -> str:
    """Return the id of the preferences."""
    return staging.staged("collect", work, run_id, made)


def work(bench: Bench) -> Outcome:
    """Write the labels, the pairs they are of, and who agreed with whom."""
    source = plugins.build(FeedbackSource, bench.config.collect.source)
    pairs = read_pairs(bench.inputs["respond"].path)
    labels = _from_people(bench, source, pairs) if source.waits else _at_once(bench, source, pairs)
    write_json_lines(bench.out / "labels.jsonl", map(asdict, labels))
    write_json_lines(bench.out / "pairs.jsonl", map(asdict, pairs))
    found = summary(source, pairs, labels)
    write_json(bench.out / "summary.json", found)
    return Outcome(metrics=found)


def _at_once(bench: Bench, source: FeedbackSource, pairs: Sequence[Pair]) -> list[Label]:
    """Ask a source that never waits, and keep its labels where people's are kept."""
    labels = listed(source, "judge", source.judge(pairs, bench.seed), Label)
    if bench.store is not None:
        name = _campaign(bench, bench.store, source, pairs)
        campaigns.import_labels(bench.store, name, labels)
        campaigns.close(bench.store, name)
    return labels


def _from_people(bench: Bench, source: FeedbackSource, pairs: Sequence[Pair]) -> list[Label]:
    """Return people's labels when there are enough; raise Waiting while there are not."""
    if bench.store is None:
        raise Waiting(f"{source.name} needs the store, where people leave their labels.")
    name = _campaign(bench, bench.store, source, pairs)
    labels = campaigns.labels(bench.store, name)
    lacking = _lacking(bench, bench.store, name, pairs, labels)
    if lacking:
        raise Waiting(
            f"{name} {lacking}; label at `tunesmith dashboard`,"
            f" then `tunesmith resume {bench.run_id}`."
        )
    campaigns.close(bench.store, name)
    return labels


def _campaign(bench: Bench, store: Store, source: FeedbackSource, pairs: Sequence[Pair]) -> str:
    """Return the campaign of these pairs, made once: another run finds the labels of this one."""
    section = bench.config.collect
    hours = section.deadline_hours
    work = hashlib.sha256(f"{source!r} {section.overlap}".encode()).hexdigest()
    return campaigns.create(
        store,
        f"{bench.config.name[:60]}-{bench.inputs['respond'].digest[:8]}-{work[:4]}",
        pairs,
        overlap=section.overlap,
        quorum=section.quorum,
        agreement=section.agreement,
        seed=bench.seed,
        source=source.name,
        run_id=bench.run_id,
        deadline_at=datetime.now(UTC) + timedelta(hours=hours) if hours else None,
        guidelines=getattr(source, "guidelines", ""),
    )


def _lacking(
    bench: Bench, store: Store, name: str, pairs: Sequence[Pair], labels: Sequence[Label]
) -> str | None:
    """Say what is still to be done, or None; after the deadline what there is has to do."""
    section = bench.config.collect
    if labels and campaigns.progress(store, name).overdue:
        return None
    missing = missing_labels(pairs, labels, section.overlap, section.quorum)
    if missing:
        return f"needs {missing} more labels ({len(labels)} are there)"
    alpha = agreement(labels)
    if section.agreement is not None and (alpha is None or alpha < section.agreement):
        shown = "unknown" if alpha is None else f"{alpha:.2f}"
        return f"has its labels, but agreement is {shown} and has to reach {section.agreement:.2f}"
    return None


def missing_labels(
    pairs: Sequence[Pair], labels: Sequence[Label], overlap: int, quorum: float
) -> int:
    """Return how many labels are missing until the share ``quorum`` of pairs has ``overlap``.

    Counted here and not in the campaign, so that a run resumed with a lower quorum goes on.
    """
    counts = Counter(label.pair_id for label in labels if label.verdict != "skip")
    missing = sorted(max(0, overlap - counts[pair.id]) for pair in pairs)
    return sum(missing[: math.ceil(quorum * len(pairs))])


def agreement(labels: Sequence[Label]) -> float | None:
    """Return Krippendorff's alpha over the pairs, or None where nobody shared one."""
    from tunesmith.evidence.statistics import krippendorff_alpha

    units: dict[str, list[str]] = {}
    for label in labels:
        if label.verdict != "skip":
            units.setdefault(label.pair_id, []).append(label.verdict)
    shared = [unit for unit in units.values() if len(unit) > 1]
    alpha = krippendorff_alpha(shared)
    return alpha if math.isfinite(alpha) else None


def summary(
    source: FeedbackSource, pairs: Sequence[Pair], labels: Sequence[Label]
) -> dict[str, Any]:
    """Return who labelled how much, whether they were people, and how far they agreed."""
    by_annotator = Counter(label.annotator for label in labels)
    verdicts = Counter(label.verdict for label in labels)
    return {
        "pairs": len(pairs),
        "labels": len(labels),
        "verdicts": dict(sorted(verdicts.items())),
        "source": source.name,
        "simulated": source.simulated,
        "by_model": source.by_model,
        "quality": source.quality(labels),
        "annotators": dict(sorted(by_annotator.items())),
        "agreement": agreement(labels),
    }
