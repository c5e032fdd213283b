"""What a config may say, and what is said of one that is wrong."""

import json
from pathlib import Path

import pytest

from tunesmith import plugins, stagekeys, stages
from tunesmith.config import Lifecycle, check_config, load_config
from tunesmith.config_schema import json_schema
from tunesmith.errors import ConfigError
from tunesmith.places import places

WHOLE = """\
name: demo
seed: 7
model: builtin:nano
data:
  sources: [{name: nano, train: 40}]
  filters: [normalise, exact_dedup]
tune: {method: {name: sft, epochs: 1, learning_rate: 1e-4}, adapter: {name: lora, r: 8}}
respond: {tasks: [creative_writing], prompts: 20}
collect: {source: simulated, overlap: 3}
reward: {model: bradley_terry, gate: {min_of_ceiling: 0.9}}
align: {method: dpo}
optimise: {quantizer: {name: gguf, type: q8_0}}
evaluate:
  tasks:
    - {name: maths_reasoning, style: chain_of_thought}
    - machine_translation
release: {name: demo}
"""


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a config and gives its path."""

    def _write(text: str = WHOLE, name: str = "lifecycle.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return _write


def refused(path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value)


class TestReading:
    def test_a_bare_name_is_a_spec_without_options(self, write):
        assert load_config(write()).align.method == {"name": "dpo"}

    def test_absent_and_null_sections_leave_their_stage_out(self, write):
        config = load_config(write("name: a\ndata: {sources: [nano]}\ntune:\n"))
        assert config.tune is None and config.align is None
        assert [stage.name for stage in stages.planned(config)] == ["prepare"]

    def test_a_config_survives_json(self, write):
        config = load_config(write())
        again = Lifecycle.model_validate(json.loads(json.dumps(config.model_dump(mode="json"))))
        assert again == config

    def test_scientific_notation_is_a_number_and_no_is_text(self, write):
        config = load_config(write(), ["name=no", "tune.method.learning_rate=2e-5"])
        assert config.name == "no"
        assert config.tune.method["learning_rate"] == 2e-5

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1e-4", 1e-4), ("1.5E3", 1500.0), ("007", 7), ("1_000", 1000), ("0x10", 16),
            ("-3", -3), (".5", 0.5), ("5.", 5.0), ("on", "on"), ("yes", "yes"), ("~", None),
            ("2024-01-01", "2024-01-01"), ("12:30", "12:30"), ("TRUE", True), ("1.2.3", "1.2.3"),
            ("[a, {b: 1}]", ["a", {"b": 1}]), ("", None), ("'1'", "1"),
        ],
    )  # fmt: skip
    def test_yaml_follows_the_core_rules_of_1_2(self, text, value):
        from tunesmith import yamltext

        assert yamltext.scalar(text, "x") == value

    def test_anchors_and_merge_keys_work(self, write):
        text = "name: a\ndata: {sources: [nano]}\n" + (
            "tune: {adapter: &a {name: lora, r: 4}}\nalign: {adapter: {<<: *a, r: 8}}\n"
        )
        config = load_config(write(text))
        assert config.tune.adapter == {"name": "lora", "r": 4}
        assert config.align.adapter == {"name": "lora", "r": 8}

    def test_relative_paths_start_at_the_config_s_folder(self, write, tmp_path, monkeypatch):
        (tmp_path / "base").mkdir()
        monkeypatch.chdir("/")
        text = "name: a\nmodel: ./base\ndata: {sources: [{name: jsonl, path: rows.jsonl}]}\n"
        config = load_config(write(text))
        assert config.model == str(tmp_path / "base")
        assert config.data.sources[0]["path"] == str(tmp_path / "rows.jsonl")

    def test_a_path_on_the_command_line_starts_at_the_working_directory(
        self, write, tmp_path, monkeypatch
    ):
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        given = "data.sources=[{name: jsonl, path: rows.jsonl}]"
        config = load_config(write(), [given])
        assert config.data.sources[0]["path"] == str(tmp_path / "here" / "rows.jsonl")

    def test_a_hub_id_stays_a_hub_id(self, write):
        assert load_config(write(), ["model=owner/name"]).model == "owner/name"

    def test_every_technique_is_found_with_its_place_and_family(self, write):
        found = {place.path: place for place in places(load_config(write()))}
        assert found["tune.adapter"].family.family == "Adapter"
        assert found["evaluate.tasks.0"].spec == {"name": "maths_reasoning"}
        assert found["evaluate.tasks.0.style"].spec == {"name": "chain_of_thought"}
        assert found["evaluate.tasks.1.style"].spec == {"name": "zero_shot"}
        assert found["data.filters.1"].section == "data"

    def test_the_shares_of_the_splits_have_defaults(self, write):
        assert set(load_config(write()).data.split) == {"test", "validation", "prompts"}


class TestOverrides:
    @pytest.mark.parametrize(
        ("override", "read"),
        [
            ("seed=9", lambda c: c.seed == 9),
            ("align.method.beta=0.2", lambda c: c.align.method == {"name": "dpo", "beta": 0.2}),
            ("align=null", lambda c: c.align is None),
            ("data.sources.0.train=5", lambda c: c.data.sources[0]["train"] == 5),
            ("data.filters=[]", lambda c: c.data.filters == []),
            ("data.filters.2={name: length}", lambda c: c.data.filters[2] == {"name": "length"}),
            ("data.filters.0.lowercase=true", lambda c: c.data.filters[0]["lowercase"] is True),
            ("evaluate.win_rate.prompts=3", lambda c: c.evaluate.win_rate.prompts == 3),
            ("name=a=b", None),
        ],
    )
    def test_a_dotted_key_is_changed(self, write, override, read):
        if read is None:
            assert "a name has up to 64" in refused(write(), override)
        else:
            assert read(load_config(write(), [override]))

    def test_the_last_override_wins(self, write):
        assert load_config(write(), ["seed=1", "seed=2"]).seed == 2

    @pytest.mark.parametrize(
        ("override", "words"),
        [
            ("seed", "is not KEY=VALUE"),
            ("=3", "is not KEY=VALUE"),
            ("data.sources.x=1", "is a list of 1; say which one by its position"),
            ("data.filters.7=length", "has 2 entries (0 to 1)"),
            ("seed.x=1", "seed is 7, which has no 'x' in it"),
            ("tune.method=[", "--set tune.method, line 1"),
            ("respond.answers=one", "--set respond.answers=one: respond.answers: expected"),
            ("respond.answer=3", "Did you mean 'answers'?"),
        ],
    )
    def test_a_wrong_override_is_named(self, write, override, words):
        assert words in refused(write(), override)


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "is empty"),
            ("# nothing\n", "is empty"),
            ("- a\n- b\n", "must hold keys such as `name:`"),
            ("just words", "must hold keys such as `name:`"),
            ("name: a\n  seed: 3\n", "line 2, column"),
            ("name: [a\n", "not valid YAML"),
            ("name: a\n\tseed: 3\n", "tab"),
            ("name: a\nname: b\n", "line 2: 'name' is there twice (first on line 1)"),
            (
                "name: a\ntune: {method: {name: sft,\n  epochs: 1, epochs: 2}}\n",
                "'tune.method.epochs' is there twice",
            ),
            (b"name: a\nseed: \xff\n", "line 2: byte 0xff is not UTF-8"),
            ("name: a\n", "has no section"),
            ("name: !!python/object:os.system x\n", "not valid YAML"),
            ("name: a\nx: &x [*x]\n", "an alias contains itself"),
        ],
    )
    def test_a_file_that_is_no_config_gets_one_clear_error(self, write, text, words):
        assert words in refused(write(text))

    def test_a_billion_laughs_are_refused(self, write):
        lines = ["name: a", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
        assert "aliases expand" in refused(write("\n".join(lines)))

    def test_a_deeply_nested_file_is_refused(self, write):
        assert "lifecycle.yaml" in refused(write("name: " + "[" * 3_000))

    def test_a_missing_file_names_its_neighbour(self, write, tmp_path):
        write(name="lifecycle.yaml")
        message = refused(tmp_path / "lifecicle.yaml")
        assert "There is no file" in message and "'lifecycle.yaml'" in message

    def test_a_folder_names_the_file_in_it(self, write, tmp_path):
        write()
        assert "is a folder; give the YAML file in it. It holds lifecycle.yaml." in refused(
            tmp_path
        )

    def test_a_data_file_given_by_mistake_is_refused_unread(self, tmp_path):
        path = tmp_path / "rows.jsonl"
        path.write_text("x" * 1_000_001)
        assert "Is it a data file?" in refused(path)

    def test_an_unknown_key_names_file_line_key_the_nearest_and_all(self, write):
        path = write(WHOLE.replace("respond: {tasks:", "respond: {taks:"))
        assert refused(path) == (
            f"{path}, line 8: respond has no key 'taks'. Did you mean 'tasks'?"
            " Keys of respond: prompts, tasks, answers, sampler, selector, pairs, engine."
        )

    def test_an_unknown_section_names_the_nearest(self, write):
        message = refused(write(WHOLE.replace("optimise:", "optimize:")))
        assert "there is no key 'optimize'. Did you mean 'optimise'?" in message

    def test_an_option_of_a_technique_in_the_wrong_place_is_shown_the_right_one(self, write):
        message = refused(write(), "align.beta=0.2")
        assert "It is an option of dpo: write align.method.beta." in message

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("seed: 7", "seed: seven", "seed: expected a valid integer; got 'seven' (text)."),
            ("seed: 7", "seed: -1", "seed: expected greater than or equal to 0; got -1 (a number)"),
            ("overlap: 3", "overlap: 0", "collect.overlap: expected greater than or equal to 1"),
            ("prompts: 20", "prompts: [20]", "respond.prompts: expected a valid integer; got [20]"),
            ("name: demo\nseed", "name: De mo\nseed", "name: a name has up to 64 lower case"),
            ("align: {method: dpo}", "align: dpo", "align: expected keys below it; got 'dpo'"),
            ("align: {method: dpo}", "align: {method: 3}", "align.method: expected keys below it"),
            ("release: {name: demo}", "release: {}", "release needs the key 'name'."),
            ("name: demo\n", "", "it needs the key 'name'."),
            ("min_of_ceiling", "min_of_sealing", "Did you mean 'min_of_ceiling'?"),
            ("filters: [normalise", "split: {tests: 0.1}\n  filters: [normalise", "data.split"),
        ],
    )
    def test_a_wrong_value_says_what_was_expected_and_what_was_found(self, write, old, new, words):
        assert words in refused(write(WHOLE.replace(old, new, 1)))

    def test_everything_wrong_is_told_at_once(self, write):
        text = WHOLE.replace("seed: 7", "seed: x").replace("overlap: 3", "overlap: x")
        assert len(refused(write(text)).splitlines()) == 2

    def test_plain_data_is_checked_the_same_way(self):
        with pytest.raises(ConfigError, match="run 3: there is no key 'sed'"):
            check_config({"name": "a", "sed": 3, "data": {"sources": ["nano"]}}, "run 3")


class TestSchema:
    def test_every_installed_technique_is_in_it(self):
        text = json.dumps(json_schema())
        for family in plugins.host().techniques.values():
            for name in family:
                assert f'"{name}"' in text

    def test_no_reference_points_nowhere(self):
        schema = json_schema()
        text = json.dumps(schema)
        names = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}
        assert names <= set(schema["$defs"])

    def test_it_accepts_the_whole_config_and_refuses_a_wrong_option(self, write):
        jsonschema = pytest.importorskip("jsonschema")
        config = load_config(write()).model_dump(mode="json")
        schema = json_schema()
        jsonschema.validate(config, schema)
        config["tune"]["method"]["epoch"] = 3
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(config, schema)


class TestStageKeys:
    def config(self, write, *overrides):
        return load_config(write(), overrides)

    def key(self, config, stage="prepare", **inputs):
        return stagekeys.stage_key(config, stage, inputs)

    def test_the_same_work_has_the_same_key(self, write):
        assert self.key(self.config(write)) == self.key(self.config(write, "name=other"))

    def test_a_default_spelled_out_changes_nothing(self, write):
        plain = self.key(self.config(write))
        assert plain == self.key(self.config(write, "data.sources.0.seed=7"))

    @pytest.mark.parametrize(
        "override",
        ["seed=8", "data.sources.0.train=41", "data.filters=[normalise]", "data.split.test=0.2"],
    )
    def test_what_a_stage_depends_on_changes_its_key(self, write, override):
        assert self.key(self.config(write)) != self.key(self.config(write, override))

    def test_a_late_option_leaves_early_stages_alone(self, write):
        before, after = self.config(write), self.config(write, "optimise.quantizer.type=q4_0")
        inputs = {"prepare": "dataset-1", "respond": "responses-1"}
        assert self.key(before, "collect", **inputs) == self.key(after, "collect", **inputs)
        made = {"align": "model-1"}
        assert self.key(before, "optimise", **made) != self.key(after, "optimise", **made)

    def test_an_input_s_digest_changes_the_key(self, write):
        config = self.config(write)
        first = self.key(config, "collect", respond="responses-1")
        assert first != self.key(config, "collect", respond="responses-2")

    def test_the_same_rows_in_another_folder_have_the_same_key(self, tmp_path):
        keys = []
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            (folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
            (folder / "c.yaml").write_text(
                "name: a\ndata: {sources: [{name: jsonl, path: rows.jsonl}]}\n"
            )
            keys.append(self.key(load_config(folder / "c.yaml")))
        assert keys[0] == keys[1]

    def test_a_changed_row_changes_the_key(self, tmp_path):
        (tmp_path / "c.yaml").write_text(
            "name: a\ndata: {sources: [{name: jsonl, path: rows.jsonl}]}\n"
        )
        keys = []
        for answer in "bc":
            (tmp_path / "rows.jsonl").write_text(f'{{"prompt": "a", "completion": "{answer}"}}\n')
            keys.append(self.key(load_config(tmp_path / "c.yaml")))
        assert keys[0] != keys[1]

    def test_the_base_model_s_bytes_are_part_of_the_key_of_tune(self, write, tmp_path):
        from tiny_models import tiny_model

        keys = set()
        for seed in (0, 1, 0):
            config = self.config(write, f"model={tiny_model(seed)}")
            keys.add(self.key(config, "tune", prepare="dataset-1"))
        assert len(keys) == 2

    def test_the_judge_of_the_win_rate_is_part_of_the_evaluation(self, write):
        from tiny_models import tiny_model

        model = f"model={tiny_model()}"
        given = [model, "evaluate.win_rate.prompts=3"]
        first = self.config(write, *given)
        other = self.config(write, *given, "collect.source.correct=9")
        made = {"prepare": "d", "tune": "m"}
        assert self.key(first, "evaluate", **made) != self.key(other, "evaluate", **made)
        assert self.key(first, "tune", prepare="d") == self.key(other, "tune", prepare="d")

    def test_ingredients_are_json_and_name_what_is_used(self, write):
        found = stagekeys.ingredients(self.config(write), "prepare", {})
        assert json.loads(json.dumps(found)) == found
        assert found["techniques"]["data.filters.1"]["name"] == "exact_dedup"

    def test_a_model_from_scratch_has_no_bytes(self, write):
        config = self.config(write, "model=scratch")
        assert stagekeys.ingredients(config, "tune", {"prepare": "d"})["model"] is None

    def test_the_flows_derive_a_stage_s_seed_the_same_way(self):
        from tunesmith_flows.bench import stage_seed

        assert stagekeys.stage_seed(7, "prepare") == stage_seed(7, "prepare")


class TestSourceCode:
    def test_a_technique_s_hash_covers_the_modules_it_is_made_from(self):
        from tunesmith import source_code

        found = source_code.closure("tunesmith_plugins.sources.json_lines")
        assert "tunesmith_plugins.sources.file_source" in found
        assert "tunesmith.jsontext" in found
        assert not source_code.CONTRACT & set(found)

    def test_a_task_s_helpers_count(self):
        from tunesmith import source_code

        found = source_code.closure("tunesmith_plugins.tasks.maths_reasoning")
        assert "tunesmith_plugins.tasks.limits" in found

    def test_a_stage_s_own_module_counts_and_the_screen_does_not(self):
        from tunesmith import source_code

        found = source_code.closure("tunesmith_flows.evaluate")
        assert {"tunesmith_flows.exams", "tunesmith.generation.answers"} <= set(found)
        assert not {"tunesmith_flows.progress", "tunesmith.store", "tunesmith.config"} & set(found)
        assert len({source_code.stage_digest(stage) for stage in stages.NAMES}) == 9
        assert source_code.stage_digest("no such stage") == ""

    def test_changing_a_helper_changes_the_hash_and_a_comment_elsewhere_does_not(
        self, tmp_path, monkeypatch
    ):
        from tunesmith import source_code

        package = tmp_path / "tsm_hash_probe"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "one.py").write_text("def f():\n    from .helper import g\n    return g()\n")
        (package / "helper.py").write_text("def g(): return 1\n")
        (package / "stranger.py").write_text("x = 1\n")
        monkeypatch.syspath_prepend(tmp_path)

        def digest() -> str:
            for cached in (source_code.digest, source_code.file_of, source_code._imports):
                cached.cache_clear()
            return source_code.digest("tsm_hash_probe.one")

        first = digest()
        (package / "stranger.py").write_text("x = 2\n")
        assert digest() == first
        (package / "helper.py").write_text("def g(): return 2\n")
        assert digest() != first
