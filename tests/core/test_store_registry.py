"""The registry: versions without gaps, aliases that move by compare-and-swap, their history."""

import pytest
from databases import all_succeed, spawn

from tunesmith.errors import ArtifactError, StoreError
from tunesmith.store import Artifact, Store, queries, registry, runs


def artifact(store: Store, text: str = "weights") -> Artifact:
    with store.artifacts.draft("model") as draft:
        (draft.path / "model.txt").write_text(text)
        return draft.commit()


def register(store: Store, text: str = "weights", **more: str) -> int:
    return registry.register(store, "nano", artifact(store, text).id, author="ann", **more)


def test_versions_count_up_and_resolve_by_number_and_alias(store: Store):
    assert [register(store, text) for text in "abc"] == [1, 2, 3]
    registry.set_alias(store, "nano", "production", 2, actor="ann", reason="better")
    found = registry.resolve(store, "nano", "production")
    assert (found.version, found.aliases, found.author) == (2, ("production",), "ann")
    assert registry.resolve(store, "nano", "3").version == 3
    assert [one.version for one in queries.versions(store, "nano")] == [3, 2, 1]
    assert queries.models(store) == ["nano"]


def test_a_run_that_registers_again_gets_the_version_it_made(store: Store):
    run_id = runs.create(store, "a", {})
    assert [register(store, run_id=run_id) for _ in range(2)] == [1, 1]
    assert register(store) == 2


def test_a_version_carries_its_evidence(store: Store):
    evidence = artifact(store, "evidence").id
    register(store, evidence_id=evidence)
    assert registry.resolve(store, "nano", 1).evidence_id == evidence


def test_an_altered_artifact_is_not_registered(store: Store):
    made = artifact(store)
    (made.path / "model.txt").write_text("changed")
    with pytest.raises(ArtifactError, match=r"model\.txt was altered"):
        registry.register(store, "nano", made.id, author="ann")
    assert queries.models(store) == []


def test_the_history_tells_every_move(store: Store):
    for text in "ab":
        register(store, text)
    for version, reason in ((1, "first"), (2, "better"), (1, "rolled back"), (None, "gone")):
        registry.set_alias(store, "nano", "production", version, actor="eve", reason=reason)
    history = queries.alias_history(store, "nano", "production")
    assert [(one.rev, one.from_version, one.to_version, one.reason) for one in history] == [
        (4, 1, None, "gone"),
        (3, 2, 1, "rolled back"),
        (2, 1, 2, "better"),
        (1, None, 1, "first"),
    ]
    assert [(one.version, one.rev) for one in queries.aliases(store, "nano")] == [(None, 4)]


def test_what_does_not_exist_is_named_with_what_does(store: Store):
    register(store)
    registry.set_alias(store, "nano", "candidate", 1, actor="ann")
    with pytest.raises(StoreError, match=r"Did you mean 'candidate'\? Set: candidate"):
        registry.resolve(store, "nano", "candidat")
    with pytest.raises(StoreError, match="no version 9; it has 1 to 1"):
        registry.set_alias(store, "nano", "candidate", 9, actor="ann")
    with pytest.raises(StoreError, match="Did you mean 'nano'"):
        registry.resolve(store, "nanoo", 1)
    with pytest.raises(StoreError, match="not a name for an alias"):
        registry.set_alias(store, "nano", "7", 1, actor="ann")


def test_a_stale_revision_moves_nothing(store: Store):
    register(store)
    assert registry.alias_rev(store, "nano", "production") == 0
    registry.set_alias(store, "nano", "production", 1, actor="ann", expected_rev=0)
    with pytest.raises(registry.AliasMoved, match="moved meanwhile"):
        registry.set_alias(store, "nano", "production", 1, actor="bob", expected_rev=0)
    assert len(queries.alias_history(store, "nano")) == 1


def _swap(store: Store, actor: str) -> None:
    for seen in range(5):
        try:
            registry.set_alias(store, "nano", "prod", 1, actor=actor, expected_rev=seen)
        except registry.AliasMoved:
            continue


def test_of_twenty_swaps_at_once_one_wins_each_revision(store: Store):
    register(store)
    all_succeed([spawn(_swap, store, f"actor-{i}") for i in range(20)])
    history = queries.alias_history(store, "nano", "prod")
    last = registry.alias_rev(store, "nano", "prod")
    assert [one.rev for one in history] == list(range(last, 0, -1))
    assert 1 <= last <= 5


def _register_five(store: Store, artifact_id: str) -> None:
    for _ in range(5):
        registry.register(store, "nano", artifact_id, author="ann")


def test_eight_creators_at_once_make_versions_without_gap_or_duplicate(store: Store):
    made = artifact(store)
    all_succeed([spawn(_register_five, store, made.id) for _ in range(8)])
    assert [one.version for one in queries.versions(store, "nano")] == list(range(40, 0, -1))
