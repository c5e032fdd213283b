"""The pairs and labels of a run, read back as records and as preference rows."""

from __future__ import annotations

from pathlib import Path

from tunesmith import Label, Pair, Row, plugins
from tunesmith.techniques import FeedbackSource
from tunesmith_flows.bench import Bench, read_json_lines


def read_pairs(folder: Path) -> list[Pair]:
    """Return the pairs of a `respond` or `collect` artifact."""
    return [Pair(**row) for row in read_json_lines(folder / "pairs.jsonl")]


def read_labels(folder: Path) -> list[Label]:
    """Return the labels of a `collect` artifact."""
    return [Label(**row) for row in read_json_lines(folder / "labels.jsonl")]


def preferences(bench: Bench) -> list[Row]:
    """Return one preference row per labelled pair; with known worth where the source knows it."""
    from tunesmith.preferences import preference_rows

    folder = bench.inputs["collect"].path
    source = plugins.build(FeedbackSource, bench.config.collect.source)
    pairs = read_pairs(folder)
    known = bool(pairs) and source.utility(pairs[0], pairs[0].first) is not None
    utility = source.utility if known else None
    return preference_rows(pairs, read_labels(folder), utility=utility)
