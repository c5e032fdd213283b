"""Every way of alignment goes through a lifecycle: it gets the rows it learns from."""

import json
from collections import Counter

import pytest
from tests.flows.conftest import artifact

from tunesmith.store import open_store, queries

LABELLED = ("data", "tune", "respond", "collect")
LORA = {"name": "lora", "r": 2}
ASKING = {
    "steps": 2, "prompts_per_step": 2, "num_generations": 2, "max_completion_length": 8,
    "dtype": "float32",
}  # fmt: skip


def aligned(home, report):
    """Return what the manifest of the aligned model says: its metrics and its inputs."""
    folder = artifact(home, report, "align")
    assert (folder / "model.safetensors").is_file()
    manifest = json.loads((folder / "manifest.json").read_text())
    return manifest["metrics"], {name.partition("-")[0] for name in manifest["inputs"]}


def test_methods_that_learn_from_labels_share_what_was_collected(home, lifecycle, plainly):
    seen = {}
    for method in ("kto", "orpo", "simpo"):
        align = {"method": {"name": method, "dtype": "float32"}, "adapter": LORA}
        done = plainly(lifecycle(only=LABELLED, align=align))
        assert done["status"] == "COMPLETED"
        seen[method], inputs = aligned(home, done)
        assert "preferences" in inputs and "reward_model" not in inputs
        if method != "kto":
            worked = [s.stage for s in queries.stages(open_store(), done["run"]) if not s.cached]
            assert worked == ["align"], "the labels are those of the first run"
    assert seen["simpo"]["pairs"] == seen["orpo"]["pairs"] > 0
    liked, disliked = by_hand(artifact(home, done, "collect") / "labels.jsonl")
    assert (seen["kto"]["desirable"], seen["kto"]["undesirable"]) == (liked, disliked)
    assert liked and disliked


def by_hand(labels):
    """Count the answers that more labels like than dislike, and the others that are decided."""
    balance = Counter()
    for label in map(json.loads, labels.read_text().splitlines()):
        pair, verdict = label["pair_id"], label["verdict"]
        for side, other in (("first", "second"), ("second", "first")):
            balance[pair, side] += (verdict == side) - (verdict in (other, "both_bad"))
    return sum(n > 0 for n in balance.values()), sum(n < 0 for n in balance.values())


@pytest.mark.parametrize("method", ["rloo"])
def test_methods_that_sample_follow_the_reward_model(home, lifecycle, plainly, method):
    align = {"method": {"name": method, **ASKING}, "adapter": LORA, "prompts": 4}
    done = plainly(lifecycle(only=(*LABELLED, "reward"), align=align))
    assert done["status"] == "COMPLETED"
    metrics, inputs = aligned(home, done)
    assert metrics["steps"] == 2 and "reward_before" in metrics
    assert "reward_model" in inputs and "preferences" not in inputs
