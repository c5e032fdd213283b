"""What is known before anything starts: every problem at once, each with its way out."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_models import tiny_model

from tunesmith import plugins, preflight, store
from tunesmith.config import check_config
from tunesmith.errors import ConfigError
from tunesmith.preflight import machine
from tunesmith.stagekeys import stage_key
from tunesmith.store import ledger, runs

NANO = {"name": "nano", "train": 20, "prompts": 10, "test": 10, "validation": 4}


MATHS = NANO | {"families": ["maths", "stories"]}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Give every test a home of its own."""
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "home"))


@pytest.fixture
def opened():
    return store.open()


def config(**changes):
    whole = {
        "name": "demo",
        "model": str(tiny_model(context=1024)),
        "data": {"sources": [NANO], "filters": ["normalise"]},
        "tune": {"method": "sft", "adapter": "lora"},
        "respond": {"tasks": ["creative_writing"], "prompts": 5},
        "collect": {"source": "simulated", "overlap": 3},
        "reward": {},
        "align": {"method": "dpo"},
        "optimise": {},
        "evaluate": {
            "tasks": [{"name": "maths_reasoning", "style": "chain_of_thought"}],
            "win_rate": {"prompts": 5},
        },
        "release": {"name": "demo"},
    }
    whole |= changes
    return check_config({key: value for key, value in whole.items() if value is not None})


def plan(opened, until=None, **changes):
    return preflight.plan(config(**changes), opened, until=until)


def problems(opened, until=None, **changes) -> str:
    return "\n".join(map(str, plan(opened, until, **changes).problems))


def rows_file(path: Path, *rows) -> dict:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"name": "jsonl", "path": str(path)}


def only_tune(source, **changes):
    rest = dict.fromkeys(
        ["respond", "collect", "reward", "align", "optimise", "evaluate", "release"]
    )
    return {**rest, "data": {"sources": [source]}, **changes}


PAIR = {"prompt": "Say a.", "completion": "a"}


class TestAGoodConfig:
    def test_has_no_problems_and_runs_every_stage(self, opened):
        found = plan(opened)
        assert found.problems == []
        assert [one.status for one in found.stages] == ["runs"] * 9
        assert found.require() is found

    def test_is_json(self, opened):
        found = json.loads(json.dumps(plan(opened).as_json()))
        assert found["stages"][0]["stage"] == "prepare"
        assert found["facts"]["model"]["architecture"] == "LlamaForCausalLM"

    def test_ends_where_it_is_told(self, opened):
        assert [one.stage for one in plan(opened, until="tune").stages] == ["prepare", "tune"]
        with pytest.raises(ConfigError, match=r"no stage 'tun'. Did you mean 'tune'"):
            plan(opened, until="tun")

    def test_what_later_stages_need_is_not_asked_before_they_are_planned(self, opened):
        assert problems(opened, "prepare", model="no/where", tune={"method": "nonsense"}) == ""

    def test_people_make_the_run_wait(self, opened):
        found = plan(opened, collect={"source": "human", "overlap": 2}, evaluate=None, release=None)
        assert found.problems == []
        assert found.waits
        assert next(one for one in found.stages if one.status == "waits").stage == "collect"


class TestTheCache:
    def made(self, opened, stage, key, seconds=2.0):
        run = runs.create(opened, "demo", {})
        attempt = ledger.begin(opened, run, stage, key)
        with opened.artifacts.draft("dataset") as draft:
            (draft.path / "train.jsonl").write_text("{}\n")
            artifact = draft.commit()
        ledger.finish(opened, attempt, artifact.id, {"work_seconds": seconds})
        return artifact.id

    def test_a_stage_in_the_ledger_is_cached_and_the_next_has_a_key(self, opened):
        artifact = self.made(opened, "prepare", stage_key(config(), "prepare", {}))
        first, second, third, *_ = plan(opened).stages
        assert (first.status, first.artifact) == ("cached", artifact)
        assert second.key == stage_key(config(), "tune", {"prepare": artifact})
        assert (third.key, third.why) == (None, "after tune")

    def test_a_changed_option_makes_the_stage_run(self, opened):
        self.made(opened, "prepare", stage_key(config(), "prepare", {}))
        found = plan(opened, data={"sources": [{**NANO, "train": 21}]})
        assert found.stages[0].status == "runs"

    def test_the_estimate_is_what_the_stage_took_before(self, opened):
        self.made(opened, "prepare", "another key", seconds=12.0)
        found = plan(opened, until="prepare")
        assert found.stages[0].seconds == found.seconds == 12.0

    def test_without_a_former_run_there_is_no_estimate(self, opened):
        found = plan(opened)
        assert found.seconds is None and found.stages[0].seconds is None

    def test_the_flows_look_for_the_same_keys(self, opened):
        from tunesmith_flows.desk import Desk
        from tunesmith_flows.launch import everything_cached

        artifact = self.made(opened, "prepare", stage_key(config(), "prepare", {}))
        desk = Desk(opened, "demo-0001", config())
        assert everything_cached(desk, ["prepare"])["prepare"][1] == artifact


class TestTechniques:
    def test_every_wrong_one_is_told_at_once(self, opened):
        found = plan(
            opened,
            tune={"method": {"name": "sft", "epoch": 2}, "adapter": "lara"},
            respond={"sampler": "minp"},
        )
        text = "\n".join(map(str, found.problems))
        assert "tune.method: sft has no option 'epoch'. Did you mean 'epochs'?" in text
        assert "tune.adapter: No Adapter is named 'lara'. Did you mean 'lora'?" in text
        assert "respond.sampler: No Sampler is named 'minp'. Did you mean 'min_p'?" in text
        with pytest.raises(ConfigError, match="nothing was started"):
            found.require()

    def test_a_broken_plugin_that_is_needed_is_refused(self, opened, monkeypatch):
        host = plugins.load(disabled={"method.sft"})
        host.broken.append(plugins.Broken("method.sft", "tunesmith", "OSError: no disk", "..."))
        monkeypatch.setattr(plugins, "host", lambda: host)
        text = problems(opened)
        assert "The plugin method.sft failed: OSError: no disk" in text
        assert "`tunesmith plugins doctor` shows the traceback" in text

    def test_what_the_machine_lacks_is_a_problem(self, opened, monkeypatch):
        from tunesmith.techniques import Adapter

        lora = plugins.host().find(Adapter, "lora")
        monkeypatch.setattr(lora, "lacks", lambda _: ["there is no GPU here."])
        assert "there is no GPU here." in problems(opened)

    def test_a_missing_module_is_named_with_its_package(self, opened, monkeypatch):
        from tunesmith.techniques import Adapter

        lora = plugins.host().find(Adapter, "lora")
        monkeypatch.setattr(lora, "needs", ("not_there_at_all",))
        assert "lora needs the module 'not_there_at_all'" in problems(opened)

    def test_what_a_technique_objects_to_itself_is_told(self, opened):
        text = problems(opened, collect={"source": {"name": "simulated", "annotators": []}})
        assert "collect.source: simulated.annotators is empty" in text

    def test_a_check_that_raises_is_the_plugin_s_defect_and_hides_nothing(
        self, opened, monkeypatch
    ):
        from tunesmith.techniques import Adapter

        def fails(self):
            raise ZeroDivisionError("oops")

        monkeypatch.setattr(plugins.host().find(Adapter, "lora"), "problems", fails)
        text = problems(opened, respond={"sampler": "minp"})
        assert "lora could not be checked (ZeroDivisionError: oops)" in text
        assert "No Sampler is named 'minp'" in text


class TestOrder:
    @pytest.mark.parametrize(
        ("gone", "words"),
        [
            ("data", "tune: it needs the stage prepare"),
            ("respond", "collect: it needs the stage respond, because people compare"),
            ("collect", "reward: it needs the stage collect"),
            ("evaluate", "release: it needs the stage evaluate"),
            ("collect", "align: it needs the stage collect, because dpo learns from the labels"),
            ("collect", "evaluate.win_rate: who judges the contest is said by `collect.source`"),
        ],
    )
    def test_a_stage_without_its_forerunner_is_refused(self, opened, gone, words):
        assert words in problems(opened, **{gone: None})

    @pytest.mark.parametrize("method", ["grpo", "rloo"])
    def test_a_method_that_follows_a_reward_needs_one(self, opened, method):
        assert problems(opened, align={"method": method}) == ""
        text = problems(opened, reward=None, align={"method": method})
        assert f"align: it needs the stage reward, because {method} follows" in text

    @pytest.mark.parametrize("method", ["kto", "orpo", "cpo", "simpo"])
    def test_a_method_that_learns_from_labels_needs_no_reward(self, opened, method):
        assert problems(opened, reward=None, align={"method": method}) == ""
        text = problems(opened, collect=None, reward=None, align={"method": method})
        assert f"align: it needs the stage collect, because {method} learns from the labels" in text

    def test_rows_for_kto_are_thumbs_when_it_tunes(self, opened, tmp_path):
        thumbs = [{**PAIR, "prompt": f"Say {n}.", "label": n % 2 == 0} for n in range(30)]
        changes = only_tune(rows_file(tmp_path / "t.jsonl", *thumbs), tune={"method": "kto"})
        assert problems(opened, **changes) == ""
        pairs = [{**PAIR, "prompt": f"Say {n}."} for n in range(30)]
        changes = only_tune(rows_file(tmp_path / "p.jsonl", *pairs), tune={"method": "kto"})
        text = problems(opened, **changes)
        assert "tune (kto) needs unpaired-preference rows" in text and "lacks label" in text

    def test_nothing_but_pretraining_starts_from_scratch(self, opened):
        assert "tune.method: sft cannot make a model from nothing" in problems(
            opened, model="scratch"
        )
        assert "model: `scratch` means that `tune` makes the model" in problems(
            opened, model="scratch", tune=None
        )

    def test_pretraining_from_scratch_on_prose_is_fine(self, opened):
        source = {"name": "nano", "form": "prose", "documents": 20, "validation": 4}
        changes = only_tune(source, model="scratch", tune={"method": "pretrain"})
        assert problems(opened, **changes) == ""


class TestModels:
    def folder(self, tmp_path) -> Path:
        folder = tmp_path / "model"
        shutil.copytree(tiny_model(context=1024), folder)
        return folder

    def test_a_folder_that_is_not_there(self, opened):
        assert "No model folder '/nowhere/at/all'" in problems(opened, model="/nowhere/at/all")

    def test_one_without_a_tokenizer(self, opened, tmp_path):
        folder = self.folder(tmp_path)
        (folder / "tokenizer.json").unlink()
        assert "has no tokenizer" in problems(opened, model=str(folder))

    def test_a_pickle_checkpoint(self, opened, tmp_path):
        folder = self.folder(tmp_path)
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        assert "has only pickle weights (pytorch_model.bin)" in problems(opened, model=str(folder))

    def test_truncated_weights(self, opened, tmp_path):
        folder = self.folder(tmp_path)
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
        assert "is not a whole safetensors file" in problems(opened, model=str(folder))

    def test_a_context_too_short_for_what_is_asked(self, opened):
        found = problems(opened, model=str(tiny_model(context=128)))
        assert "exceed the model's context of 128" in found

    def test_a_method_that_wants_longer_rows_than_the_context(self, opened):
        tune = {"method": {"name": "sft", "max_length": 4096}}
        assert "sft.max_length is 4,096 tokens, and the model's context is 1,024" in problems(
            opened, tune=tune
        )

    def test_an_engine_that_has_an_unchanged_form_of_the_model_may_run_it(self, opened):
        assert problems(opened, respond={"engine": "llamacpp"}) == ""

    def test_an_engine_that_cannot_run_what_training_leaves(self, opened, tmp_path):
        path = tmp_path / "model"
        shutil.copytree(tiny_model(context=1024), path)
        whole = json.loads((path / "config.json").read_text()) | {"hidden_act": "gelu"}
        (path / "config.json").write_text(json.dumps(whole))
        text = problems(opened, model=str(path), respond={"engine": "llamacpp"})
        assert "respond.engine: LlamaForCausalLM with the activation 'gelu' has no GGUF" in text
        assert "optimise.quantizer: LlamaForCausalLM with the activation 'gelu'" in text

    def test_an_adapter_beside_the_weights_keeps_a_model_on_the_reference(self, opened):
        tuned = {"method": "sft", "adapter": "prompt_tuning"}
        rest = dict.fromkeys(["collect", "reward", "align", "optimise", "release"])
        text = problems(opened, tune=tuned, respond={"engine": "llamacpp"}, evaluate=None, **rest)
        assert "respond.engine: prompt_tuning stays outside the weights" in text

    def test_a_technique_may_refuse_an_architecture(self, opened, monkeypatch):
        from tunesmith.techniques import Quantizer

        gguf = plugins.host().find(Quantizer, "gguf")
        objection = lambda self, folder: [f"no {folder.name} here"]  # noqa: E731
        monkeypatch.setattr(gguf, "problems_with_model", objection, raising=False)
        name = tiny_model(context=1024).name
        assert f"optimise.quantizer: no {name} here" in problems(opened)


class TestRows:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (None, "rows.jsonl"),
            (b"", "empty"),
            (b"\xff\xfe\n", "UTF-8"),
            (b'{"prompt": null, "completion": "x"}\n', "null"),
            (b'{"a": 1, "b": 2}\n', "columns"),
            (b'{"prompt": "a", "completion": "b", "id": "1"}\n' * 2, "ids must be unique"),
            (b"{not json\n", "rows.jsonl:1"),
            (b"x" * 11_000_000, "rows.jsonl:1"),
        ],
    )
    def test_a_file_that_cannot_be_used_is_named(self, opened, tmp_path, content, words):
        path = tmp_path / "rows.jsonl"
        if content is not None:
            path.write_bytes(content)
        found = problems(opened, **only_tune({"name": "jsonl", "path": str(path)}))
        assert "data.sources.0: " in found and words in found
        assert found.count("\n") == 0

    def test_rows_of_the_wrong_type_are_refused_for_the_method(self, opened, tmp_path):
        source = rows_file(tmp_path / "rows.jsonl", {"text": "once upon a time"})
        text = problems(opened, **only_tune(source))
        assert "tune (sft) needs prompt-completion rows" in text
        assert "it lacks prompt, completion" in text

    def test_the_same_id_in_two_sources_is_refused(self, opened, tmp_path):
        row = {**PAIR, "id": "same"}
        first = rows_file(tmp_path / "a.jsonl", row)
        second = rows_file(tmp_path / "b.jsonl", row)
        changes = only_tune(first, data={"sources": [first, second]})
        assert "Two rows have the id 'same'" in problems(opened, **changes)

    def test_a_split_that_nothing_goes_to_is_named(self, opened, tmp_path):
        rows = [{**PAIR, "prompt": f"Say {n}."} for n in range(30)]
        source = rows_file(tmp_path / "rows.jsonl", *rows)
        changes = only_tune(source, respond={"tasks": []})
        changes["data"]["split"] = {"prompts": 0.0}
        assert "respond needs rows in the split prompts" in problems(opened, **changes)

    def test_a_task_that_no_row_belongs_to_is_named(self, opened, tmp_path):
        rows = [{**PAIR, "prompt": f"Say {n}.", "split": s} for n in range(9) for s in ["test"]]
        rows += [{**PAIR, "split": "train"}]
        source = rows_file(tmp_path / "rows.jsonl", *rows)
        changes = only_tune(source, evaluate={"tasks": ["summarisation"]})
        assert "no row of the split test belongs to summarisation" in problems(opened, **changes)

    def test_a_row_without_a_reference_cannot_be_scored(self, opened, tmp_path):
        row = {**PAIR, "task": "summarisation", "split": "test"}
        source = rows_file(tmp_path / "rows.jsonl", row, {**PAIR, "split": "train"})
        changes = only_tune(source, evaluate={"tasks": ["summarisation"]})
        assert "has no `reference` to score an answer against" in problems(opened, **changes)

    def test_shares_that_leave_nothing_to_train_on_are_refused(self, opened, tmp_path):
        rows = [{**PAIR, "prompt": f"Say {n}."} for n in range(30)]
        changes = only_tune(rows_file(tmp_path / "rows.jsonl", *rows))
        changes["data"]["split"] = {"test": 0.5, "prompts": 0.5}
        assert "add up to 1, which leaves nothing to train on" in problems(opened, **changes)


class TestSettings:
    def test_agreement_of_one_annotator_would_be_waited_for_for_ever(self, opened):
        text = problems(opened, collect={"source": "human", "agreement": 0.5})
        assert "collect.agreement: agreement can only be known when several people" in text

    def test_a_ceiling_needs_overlap(self, opened):
        text = problems(opened, collect={"source": "human"})
        assert "reward.gate.min_of_ceiling: the annotators' ceiling" in text

    def test_people_cannot_judge_the_contest_by_utility(self, opened):
        found = plan(opened, collect={"source": "human", "overlap": 2})
        assert "human does not know what an answer is worth" in str(found.warnings[0])

    def test_a_sampler_the_quantized_engine_cannot_express_is_refused(self, opened, monkeypatch):
        from tunesmith.techniques import Sampler

        top_k = plugins.host().find(Sampler, "top_k")
        monkeypatch.setattr(top_k, "engine_options", lambda self, engine: None)
        evaluate = {"sampler": "top_k"}
        assert "evaluate.sampler: the engine llamacpp cannot sample with top_k" in problems(
            opened, evaluate=evaluate
        )

    def test_an_accelerator_for_another_engine_is_refused(self, opened, monkeypatch):
        from tunesmith.techniques import Accelerator

        cache = plugins.host().find(Accelerator, "prefix_cache")
        monkeypatch.setattr(cache, "engine", "vllm")
        text = problems(opened, optimise={"accelerators": ["prefix_cache"]})
        assert "prefix_cache is for the engine vllm" in text

    def test_the_same_paper_twice_is_refused(self, opened):
        text = problems(opened, evaluate={"tasks": ["maths_reasoning", "maths_reasoning"]})
        assert "maths_reasoning with the style zero_shot is there twice" in text

    def test_one_style_with_two_options_is_two_papers(self, opened):
        style = {"name": "few_shot", "selection": "most_similar", "shots": 1}
        tasks = [{"name": "maths_reasoning", "style": one} for one in ("few_shot", style)]
        assert "twice" not in problems(opened, evaluate={"tasks": tasks})
        tasks[0]["style"] = {"name": "few_shot", "selection": "most_similar", "shots": 1}
        assert "few_shot(shots=1, selection=most_similar) is there twice" in problems(
            opened, evaluate={"tasks": tasks}
        )

    def test_a_wrong_name_inside_a_style_is_said_with_its_place(self, opened):
        style = {"name": "self_consistency", "style": "chain_of_thougt"}
        text = problems(opened, evaluate={"tasks": [{"name": "maths_reasoning", "style": style}]})
        assert "evaluate.tasks.0.style.style: No PromptStyle is named 'chain_of_thougt'" in text

    def test_votes_on_free_text_are_refused(self, opened):
        exam = {"name": "creative_writing", "style": "self_consistency"}
        text = problems(opened, evaluate={"tasks": [exam]})
        assert "evaluate.tasks.0.style: self_consistency counts votes for one answer" in text

    def test_the_sampler_of_a_style_must_suit_the_quantized_engine(self, opened, monkeypatch):
        from tunesmith.techniques import Sampler

        top_k = plugins.host().find(Sampler, "top_k")
        monkeypatch.setattr(top_k, "engine_options", lambda self, engine: None)
        exam = {"name": "maths_reasoning", "style": "self_consistency"}
        assert "evaluate.tasks.0.style.sampler: the engine llamacpp cannot" in problems(
            opened, evaluate={"tasks": [exam]}
        )

    def test_shots_that_fill_the_context_are_known_before(self, opened):
        exam = {"name": "maths_reasoning", "style": {"name": "few_shot", "shots": 4}}
        text = problems(opened, model=str(tiny_model(context=256)), evaluate={"tasks": [exam]})
        assert "asked in the style few_shot, has about" in text
        assert "exceed the model's context of 256" in text

    def test_too_few_shots_are_known_before(self, opened):
        exam = {"name": "maths_reasoning", "style": {"name": "few_shot", "shots": 50}}
        text = problems(opened, evaluate={"tasks": [exam]}, data={"sources": [MATHS]})
        assert "evaluate.tasks.0.style: few_shot needs 50 solved rows" in text

    def test_what_is_inside_a_style_is_part_of_the_key(self, opened):
        from tunesmith.stagekeys import ingredients

        exam = {"name": "maths_reasoning", "style": {"name": "self_consistency"}}
        found = ingredients(config(evaluate={"tasks": [exam]}), "evaluate", {"prepare": "a"})
        inside = found["techniques"]["evaluate.tasks.0.style.style"]
        assert inside["name"] == "chain_of_thought" and inside["source"]
        assert found["techniques"]["evaluate.tasks.0.style.sampler"]["options"]["k"] == 40


class TestTheMachine:
    def test_a_disk_that_is_too_small_is_known_before(self, opened, monkeypatch):
        monkeypatch.setattr(machine, "free_disk", lambda folder: 1_000_000)
        assert "has 1 MB free. Free some space" in problems(opened)

    def test_a_memory_that_is_too_small_is_known_before(self, opened, monkeypatch):
        monkeypatch.setattr(machine, "total_memory", lambda: 300_000_000)
        assert "the run may need" in problems(opened)

    def test_all_weights_take_more_memory_than_an_adapter(self, opened):
        whole = plan(opened, tune={"method": "sft"}, align=None, reward=None).facts
        little = plan(opened, align=None, reward=None).facts
        assert whole["memory_needed"] > little["memory_needed"]

    def test_the_estimate_of_a_folder_that_is_not_there_yet_is_its_parent_s(self, tmp_path):
        assert machine.free_disk(tmp_path / "not" / "yet") > 0


@pytest.mark.parametrize("sampler", ["greedy", {"name": "beam", "num_beams": 2}])
def test_answers_that_would_all_be_equal_are_refused(opened, sampler):
    told = problems(opened, respond={"tasks": ["creative_writing"], "sampler": sampler})
    assert "respond.sampler" in told and "nothing to compare" in told
