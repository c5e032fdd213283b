"""A run that waits for people holds no process, and goes on when the labels are there."""

import json

import pytest
from tests.flows.conftest import artifact

from tunesmith.errors import StoreError
from tunesmith.store import labelling, open_store, queries
from tunesmith_flows.collect import missing_labels

SECTIONS = ("data", "tune", "respond", "collect")


def label_everything(campaign, annotator, choice="left"):
    store, count = open_store(), 0
    while turn := labelling.next_assignment(store, campaign, annotator):
        assert labelling.record_label(store, turn.assignment_id, annotator, choice).stored
        count += 1
    return count


def test_the_run_waits_then_goes_on_with_what_people_said(home, lifecycle, plainly):
    config = lifecycle(only=SECTIONS, collect={"source": {"name": "human"}, "overlap": 2})
    waits = plainly(config)
    assert waits["status"] == "WAITING" and "tunesmith dashboard" in waits["reason"]
    assert f"tunesmith resume {waits['run']}" in waits["reason"]
    assert list(waits["artifacts"]) == ["prepare", "tune", "respond"]

    store = open_store()
    campaign = queries.campaigns(store)[0].id
    pairs = label_everything(campaign, "ada")
    still = plainly(config, run_id=waits["run"])
    assert still["status"] == "WAITING" and f"needs {pairs} more labels" in still["reason"]
    assert [row.id for row in queries.campaigns(store)] == [campaign], "asked for once only"

    label_everything(campaign, "ben", "tie")
    done = plainly(config, run_id=waits["run"])
    assert done["status"] == "COMPLETED"
    folder = artifact(home, done, "collect")
    labels = [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]
    assert len(labels) == 2 * pairs and {one["annotator"] for one in labels} == {"ada", "ben"}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["simulated"] is False and summary["annotators"] == {"ada": pairs, "ben": pairs}
    with pytest.raises(StoreError, match="complete"):
        plainly(config, run_id=waits["run"])


def test_another_run_with_the_same_pairs_finds_the_labels(lifecycle, plainly):
    human = {"source": {"name": "human"}, "overlap": 1}
    first = plainly(lifecycle(only=SECTIONS, collect=human))
    label_everything(queries.campaigns(open_store())[0].id, "ada")
    second = plainly(lifecycle(only=SECTIONS, collect=human))
    assert first["status"] == "WAITING" and second["status"] == "COMPLETED"


def test_a_lower_quorum_counts_the_pairs_nearest_to_complete(lifecycle):
    from tunesmith import Label, Pair

    pairs = [Pair(str(n), "", [], "a", "b", {}) for n in range(4)]
    labels = [Label("0", "ada", "first"), Label("0", "ben", "tie"), Label("1", "ada", "first")]
    labels.append(Label("2", "ada", "skip"))
    assert missing_labels(pairs, labels, overlap=2, quorum=1.0) == 5
    assert missing_labels(pairs, labels, overlap=2, quorum=0.5) == 1
    assert missing_labels(pairs, labels, overlap=2, quorum=0.25) == 0
