"""Campaigns: who gets which pair, labels written once, and what counts."""

from collections import Counter
from datetime import timedelta

import pytest

from tunesmith.errors import StoreError
from tunesmith.records import Label, Pair
from tunesmith.store import (
    Store,
    annotators,
    campaigns,
    labelling,
    leases,
    ledger,
    queries,
    registry,
    runs,
)
from tunesmith.store.columns import now
from tunesmith.store.models import Assignment


def pairs(count: int) -> list[Pair]:
    ask = [{"role": "user", "content": "Tell me.\x00"}]
    return [Pair(f"pair-{i}", "creative_writing", ask, f"a{i}", f"b{i}", {}) for i in range(count)]


def label_all(store: Store, campaign: str, annotator: str, choice: str = "left") -> int:
    count = 0
    while (turn := labelling.next_assignment(store, campaign, annotator)) is not None:
        assert labelling.record_label(store, turn.assignment_id, annotator, choice).stored
        count += 1
    return count


def expire(store: Store, assignment_id: int) -> None:
    with store.write() as session:
        session.get(Assignment, assignment_id).expires_at = now() - timedelta(seconds=1)


def test_a_campaign_begun_again_with_the_same_pairs_is_the_same(store: Store):
    assert campaigns.create(store, "c", pairs(3), overlap=2) == "c"
    assert campaigns.create(store, "c", pairs(3), overlap=2) == "c"
    assert queries.pairs(store, "c") == pairs(3)
    with pytest.raises(StoreError, match="exists with other pairs"):
        campaigns.create(store, "c", pairs(4))


@pytest.mark.parametrize("wrong", [{"overlap": 0}, {"quorum": 0.0}, {"quorum": 1.1}])
def test_settings_that_make_no_sense_are_refused(store: Store, wrong: dict[str, float]):
    with pytest.raises(StoreError, match="overlap of at least 1"):
        campaigns.create(store, "c", pairs(2), **wrong)
    with pytest.raises(StoreError, match="distinct pairs"):
        campaigns.create(store, "d", pairs(2) * 2)


def test_every_pair_gets_its_overlap_and_nobody_a_pair_twice(store: Store):
    campaigns.create(store, "c", pairs(6), overlap=2)
    assert [label_all(store, "c", name) for name in ("ann", "bob", "eve")] == [6, 6, 0]
    reached = campaigns.progress(store, "c")
    assert (reached.labels, reached.complete, reached.done) == (12, 6, True)
    assert reached.by_annotator == {"ann": 6, "bob": 6}


def test_a_reload_shows_the_same_turn_with_its_draft(store: Store):
    campaigns.create(store, "c", pairs(3), guidelines="Be fair.")
    turn = labelling.next_assignment(store, "c", "ann")
    labelling.save_draft(store, turn.assignment_id, "ann", {"reason": "so far \x00"})
    again = labelling.next_assignment(store, "c", "ann")
    assert again.assignment_id == turn.assignment_id
    assert again.draft == {"reason": "so far \x00"}
    assert again.guidelines == "Be fair."
    assert {again.left, again.right} == {"a0", "b0"}


def test_two_people_never_hold_one_slot(store: Store):
    campaigns.create(store, "c", pairs(1))
    assert labelling.next_assignment(store, "c", "ann") is not None
    assert labelling.next_assignment(store, "c", "bob") is None


def test_an_expired_lease_returns_and_its_late_label_is_refused_once_taken(store: Store):
    campaigns.create(store, "c", pairs(1))
    late = labelling.next_assignment(store, "c", "ann")
    expire(store, late.assignment_id)
    turn = labelling.next_assignment(store, "c", "bob")
    refused = labelling.record_label(store, late.assignment_id, "ann", "left")
    assert (refused.stored, refused.verdict) == (False, None)
    assert "time was over" in refused.reason
    assert labelling.record_label(store, turn.assignment_id, "bob", "tie").stored
    assert campaigns.progress(store, "c").labels == 1


def test_a_late_label_counts_while_nobody_else_has_the_pair(store: Store):
    campaigns.create(store, "c", pairs(1))
    turn = labelling.next_assignment(store, "c", "ann")
    expire(store, turn.assignment_id)
    assert labelling.record_label(store, turn.assignment_id, "ann", "left").stored


def test_a_label_is_written_once(store: Store):
    campaigns.create(store, "c", pairs(1))
    turn = labelling.next_assignment(store, "c", "ann")
    assert labelling.record_label(store, turn.assignment_id, "ann", "tie").stored
    second = labelling.record_label(store, turn.assignment_id, "ann", "left")
    assert (second.stored, second.verdict) == (False, "tie")
    with pytest.raises(StoreError, match="bob has no turn"):
        labelling.record_label(store, turn.assignment_id, "bob", "left")
    with pytest.raises(StoreError, match="Did you mean 'both_bad'"):
        labelling.record_label(store, turn.assignment_id, "ann", "bothbad")


def test_a_side_as_shown_becomes_an_answer_of_the_pair(store: Store):
    campaigns.create(store, "c", pairs(12), seed=3)
    label_all(store, "c", "ann", "left")
    found = campaigns.labels(store, "c")
    assert [one.verdict for one in found] == [one.shown_first for one in found]
    assert set(Counter(one.shown_first for one in found)) == {"first", "second"}


def test_sides_are_settled_by_seed_pair_and_annotator():
    sides = [leases.side(7, f"p{i}", "ann") for i in range(2000)]
    assert sides == [leases.side(7, f"p{i}", "ann") for i in range(2000)]
    assert 900 < sides.count("first") < 1100
    others = [leases.side(7, f"p{i}", "bob") for i in range(2000)]
    assert 900 < sum(a == b for a, b in zip(sides, others, strict=True)) < 1100


def test_undo_gives_the_turn_back(store: Store):
    campaigns.create(store, "c", pairs(3))
    first = labelling.next_assignment(store, "c", "ann")
    labelling.record_label(store, first.assignment_id, "ann", "left")
    labelling.next_assignment(store, "c", "ann")
    assert labelling.undo_last(store, "c", "ann") == first.assignment_id
    assert labelling.next_assignment(store, "c", "ann").assignment_id == first.assignment_id
    assert labelling.record_label(store, first.assignment_id, "ann", "both_bad").stored
    assert labelling.next_assignment(store, "c", "ann").pair.id == "pair-1"
    assert labelling.undo_last(store, "c", "nobody") is None


def test_a_skip_leaves_the_pair_to_somebody_else(store: Store):
    campaigns.create(store, "c", pairs(1))
    turn = labelling.next_assignment(store, "c", "ann")
    labelling.record_label(store, turn.assignment_id, "ann", "skip")
    assert labelling.next_assignment(store, "c", "ann") is None
    assert label_all(store, "c", "bob") == 1
    reached = campaigns.progress(store, "c")
    assert (reached.skips, reached.labels, reached.done) == (1, 1, True)


def test_the_excluded_do_not_count_and_their_pairs_open_again(store: Store):
    campaigns.create(store, "c", pairs(2))
    label_all(store, "c", "bot")
    annotators.exclude(store, "bot", "answers in 0.1 s")
    assert campaigns.progress(store, "c").complete == 0
    assert campaigns.labels(store, "c") == []
    with pytest.raises(StoreError, match=r"answers in 0\.1 s"):
        labelling.next_assignment(store, "c", "bot")
    assert label_all(store, "c", "ann") == 2
    annotators.include(store, "bot")
    assert len(campaigns.labels(store, "c")) == 4


def test_a_quorum_is_a_share_of_the_pairs_rounded_up(store: Store):
    campaigns.create(store, "c", pairs(30), quorum=0.1)
    assert campaigns.progress(store, "c").needed == 3
    campaigns.create(store, "d", pairs(3), quorum=0.5)
    assert campaigns.progress(store, "d").needed == 2


def test_a_closed_campaign_takes_nothing_and_a_deadline_is_told(store: Store):
    campaigns.create(store, "c", pairs(2), deadline_at=now() - timedelta(hours=1))
    turn = labelling.next_assignment(store, "c", "ann")
    assert campaigns.progress(store, "c").overdue
    campaigns.close(store, "c")
    campaigns.close(store, "c")
    for ask in (
        lambda: labelling.next_assignment(store, "c", "ann"),
        lambda: labelling.record_label(store, turn.assignment_id, "ann", "left"),
        lambda: labelling.undo_last(store, "c", "ann"),
    ):
        with pytest.raises(StoreError, match="is closed"):
            ask()
    assert [one.status for one in queries.campaigns(store)] == ["CLOSED"]
    assert queries.campaigns(store, status="OPEN") == []


def test_labels_go_in_and_come_out_the_same(store: Store):
    campaigns.create(store, "c", pairs(40), overlap=3, source="simulated")
    given = [
        Label(f"pair-{i}", f"sim-{j}", "tie", "second", 0.5, "simulated", {"noise": 0.1})
        for i in range(40)
        for j in range(3)
    ]
    assert campaigns.import_labels(store, "c", given) == 120
    assert campaigns.import_labels(store, "c", given) == 0
    assert campaigns.labels(store, "c") == given
    assert campaigns.progress(store, "c").done
    with pytest.raises(StoreError, match="'pair-99' of a label is not in this campaign"):
        campaigns.import_labels(
            store, "c", [Label("pair-1", "x", "tie"), Label("pair-99", "x", "tie")]
        )
    assert len(campaigns.labels(store, "c")) == 120


def test_an_annotators_labels_are_followed_to_the_models_they_made(store: Store):
    run_id = runs.create(store, "a", {})
    campaigns.create(store, "c", pairs(2), run_id=run_id)
    label_all(store, "c", "ann")
    made: list[str] = []
    for kind in ("preferences", "reward_model", "model"):
        with store.artifacts.draft(kind) as draft:
            (draft.path / "x").write_text(kind)
            made.append(draft.commit(inputs=made[-1:]).id)
        attempt = ledger.begin(store, run_id, kind, kind)
        ledger.finish(store, attempt, made[-1])
    registry.register(store, "nano", made[-1], author="eve", run_id=run_id)
    assert [(one.model, one.version) for one in queries.touched_by(store, "ann")] == [("nano", 1)]
    assert queries.touched_by(store, "bob") == []


def test_an_unknown_campaign_names_the_nearest(store: Store):
    campaigns.create(store, "nano-0001", pairs(1))
    with pytest.raises(StoreError, match="Did you mean 'nano-0001'"):
        labelling.next_assignment(store, "nano-001", "ann")
