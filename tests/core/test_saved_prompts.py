"""Saved prompts: versions never change, aliases move with their history, runs keep the version."""

import json

import pytest
from databases import all_succeed, spawn
from sqlalchemy import update

from tunesmith import preflight, saved_prompts
from tunesmith.config import check_config
from tunesmith.errors import ConfigError, StoreError
from tunesmith.stagekeys import stage_key
from tunesmith.store import Store, queries, registry
from tunesmith.store import saved_prompts as stored
from tunesmith.store.models import PromptVersion

SHOTS = [{"question": "2 + 2", "answer": "4"}, {"question": "3 + 3", "answer": "6"}]


def save(store: Store, system: str = "Be brief.", **more) -> stored.Saved:
    content = saved_prompts.content_of({"system": system, **more})
    return stored.save(store, "short", content, author="ann")


def lifecycle(style, name: str = "a"):
    return check_config(
        {
            "name": name,
            "data": {"sources": [{"name": "nano", "train": 20, "test": 20}]},
            "evaluate": {"tasks": [{"name": "maths_reasoning", "style": style}]},
        }
    )


def test_versions_count_up_and_equal_contents_are_one(store: Store):
    assert [save(store, text).ref for text in ("a", "b", "b", "a")] == [
        "short@1", "short@2", "short@2", "short@3",
    ]  # fmt: skip
    assert [one.version for one in queries.prompt_versions(store, "short")] == [3, 2, 1]
    assert stored.resolve(store, "short").version == 3
    assert stored.resolve(store, "short@1").content["system"] == "a"


def test_an_alias_moves_and_every_move_is_kept(store: Store):
    for text in "ab":
        save(store, text)
    for version, reason in ((1, "first"), (2, "better"), (None, "gone")):
        stored.set_alias(store, "short", "production", version, actor="eve", reason=reason)
        if version:
            assert stored.resolve(store, "short@production").version == version
    history = queries.prompt_alias_history(store, "short")
    assert [(one.rev, one.from_version, one.to_version, one.reason) for one in history] == [
        (3, 2, None, "gone"), (2, 1, 2, "better"), (1, None, 1, "first"),
    ]  # fmt: skip
    assert [row.name for row in queries.prompts(store)] == ["short"]


def test_of_two_who_saw_the_same_revision_one_moves_the_alias(store: Store):
    save(store)
    stored.set_alias(store, "short", "production", 1, actor="ann", expected_rev=0)
    with pytest.raises(registry.AliasMoved, match="moved meanwhile"):
        stored.set_alias(store, "short", "production", 1, actor="bob", expected_rev=0)


def _save_five(store: Store, who: str) -> None:
    for number in range(5):
        stored.save(store, "short", {"system": f"{who}{number}"}, author=who)


def test_eight_writers_at_once_make_versions_without_gap_or_duplicate(store: Store):
    all_succeed([spawn(_save_five, store, f"w{n}") for n in range(8)])
    assert [one.version for one in queries.prompt_versions(store, "short")] == list(
        range(40, 0, -1)
    )


def test_what_does_not_exist_is_named_with_what_does(store: Store):
    save(store)
    stored.set_alias(store, "short", "production", 1, actor="ann")
    with pytest.raises(StoreError, match=r"No prompt is saved as 'shrot'\. Did you mean 'short'"):
        stored.resolve(store, "shrot@1")
    with pytest.raises(StoreError, match=r"no version '7'.*versions 1 to 1"):
        stored.resolve(store, "short@7")
    with pytest.raises(StoreError, match="Did you mean 'production'"):
        stored.resolve(store, "short@prodution")
    with pytest.raises(StoreError, match="is not a name for a prompt"):
        stored.save(store, "Short!", {}, author="ann")


def test_a_version_that_was_altered_in_the_database_is_refused(store: Store):
    save(store)
    with store.write() as session:
        session.execute(update(PromptVersion).values(content={"system": "Be rude."}))
    with pytest.raises(StoreError, match="altered in the database"):
        stored.resolve(store, "short@1")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"template": "Answer."}, r"must hold \{question\} once"),
        ({"style": "zero_shot", "shots": SHOTS}, "shows no examples"),
        ({"style": {"name": "few_shot", "shots": 4}, "shots": SHOTS}, "needs 4 solved rows"),
        ({"style": {"name": "saved"}}, "cannot have the style `saved`"),
        ({"style": {"name": "few_shots"}}, "Did you mean 'few_shot'"),
        ({"sistem": "x"}, "Did you mean 'system'"),
    ],
)
def test_a_prompt_that_makes_no_sense_is_not_saved(options, why):
    with pytest.raises((ConfigError, LookupError), match=why):
        saved_prompts.content_of(options)


def test_a_config_keeps_the_version_that_its_alias_meant_when_it_was_settled(store: Store):
    save(store, "one")
    stored.set_alias(store, "short", "production", 1, actor="ann")
    before = saved_prompts.settled(
        lifecycle({"name": "saved", "prompt": "short@production"}), store
    )
    save(store, "two")
    stored.set_alias(store, "short", "production", 2, actor="ann")
    style = before.evaluate.tasks[0]["style"]
    assert (style["prompt"], style["system"]) == ("short@1", "one")
    assert saved_prompts.settled(before, store) == before
    assert saved_prompts.used(before.model_dump(mode="json")) == [("maths_reasoning", "short@1")]


def test_a_saved_prompt_inside_another_style_is_settled_too(store: Store):
    save(store)
    inner = {"name": "self_consistency", "style": {"name": "saved", "prompt": "short"}}
    settled = saved_prompts.settled(lifecycle(inner), store)
    assert settled.evaluate.tasks[0]["style"]["style"]["prompt"] == "short@1"


def test_the_stage_key_follows_the_version_and_not_the_alias(store: Store):
    def key(ref: str) -> str:
        config = saved_prompts.settled(lifecycle({"name": "saved", "prompt": ref}), store)
        return stage_key(config, "evaluate", {"prepare": "rows"})

    save(store, "one")
    stored.set_alias(store, "short", "production", 1, actor="ann")
    first = key("short@production")
    save(store, "two")
    assert key("short@production") == first == key("short@1")
    stored.set_alias(store, "short", "production", 2, actor="ann")
    assert key("short@production") == key("short@2") != first


def test_a_plan_names_the_version_or_says_that_there_is_none(store: Store):
    plan = preflight.plan(lifecycle({"name": "saved", "prompt": "short"}), store)
    assert any("No prompt is saved as 'short'" in str(one) for one in plan.problems)
    save(store)
    plan = preflight.plan(lifecycle({"name": "saved", "prompt": "short"}), store)
    assert not plan.problems
    assert plan.facts["prompts"] == [("maths_reasoning", "short@1")]


def test_a_saved_prompt_cannot_be_changed_beside_its_name(store: Store):
    save(store)
    changed = {"name": "saved", "prompt": "short@1", "system": "Be long."}
    with pytest.raises(ConfigError, match="has another system"):
        saved_prompts.settled(lifecycle(changed), store)


def run(capsys, *argv: str):
    from tunesmith.cli import main

    code = main(list(argv))
    said = capsys.readouterr()
    return code, said.out + said.err


def test_the_command_line_saves_lists_compares_and_points(store: Store, tmp_path, capsys):
    shots = tmp_path / "shots.jsonl"
    shots.write_text("\n".join(json.dumps(shot) for shot in SHOTS))
    code, said = run(capsys, "prompt", "save", "short", "--system", "Be brief.", "--author", "ann")
    assert (code, said.strip()) == (0, "short@1")
    code, said = run(
        capsys, "prompt", "save", "short", "--from", "short@1", "--alias", "production",
        "--style", "{name: few_shot, shots: 2}", "--shots", str(shots), "--author", "ann",
    )  # fmt: skip
    assert (code, said.strip()) == (0, "short@2  (production)")
    code, said = run(capsys, "prompt", "diff", "short@1", "short@production")
    assert code == 0 and "+  name: few_shot" in said and "-  name: zero_shot" in said
    code, said = run(capsys, "prompt", "diff", "short@1", "short@2", "--json")
    assert json.loads(said)["changed"] == ["style", "shots"]
    code, said = run(capsys, "prompt", "alias", "short", "production", "1", "--author", "ann")
    assert "short@production is 1, was 2." in said
    code, said = run(capsys, "prompt", "list", "--json")
    assert json.loads(said)[0]["aliases"] == [{"alias": "production", "version": 1, "rev": 2}]
    code, said = run(capsys, "prompt", "versions", "short", "--json")
    assert [one["ref"] for one in json.loads(said)] == ["short@2", "short@1"]


def test_a_bad_line_of_shots_is_named(store: Store, tmp_path, capsys):
    shots = tmp_path / "shots.jsonl"
    shots.write_text('{"question": "2 + 2", "answer": "4"}\n{"q": 1}\n')
    code, said = run(capsys, "prompt", "save", "short", "--shots", str(shots))
    assert code == 2 and "line 2 must have the keys question and answer" in said
