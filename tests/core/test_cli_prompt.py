"""`tunesmith prompt`: what a model is asked, in full, and styles compared on the same items."""

import json
import re

import pytest
from tiny_models import tiny_model

from tunesmith import Completion, plugins
from tunesmith.cli import boundary, main
from tunesmith.cli.prompt_items import items_of, techniques
from tunesmith.errors import ConfigError, DataError
from tunesmith.evidence.measurements import Answer
from tunesmith.evidence.style_comparison import compared
from tunesmith.models import load_tokenizer
from tunesmith.techniques import Task


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(boundary.DEBUG, "")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def cli(capfd):
    def _cli(*argv: object) -> tuple[int, str, str]:
        code = main([str(arg) for arg in argv])
        out, err = capfd.readouterr()
        return code, out, err

    return _cli


@pytest.fixture
def sums(tmp_path):
    """Return a file of sums that say their split: ten to ask, six to show."""
    made = [
        {
            "id": f"{split}-{n}",
            "split": split,
            "task": "maths_reasoning",
            "prompt": f"What is {n} plus {n + 1}?",
            "completion": f"{n} + {n + 1} = {2 * n + 1}. The answer is {2 * n + 1}.",
            "reference": {"answer": str(2 * n + 1)},
        }
        for split, numbers in (("test", range(10)), ("train", range(100, 106)))
        for n in numbers
    ]
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


@pytest.fixture(scope="session")
def model():
    return tiny_model(context=1024)


class TestShow:
    def test_the_ids_are_those_the_model_gets_and_spell_the_template_s_text(self, cli, sums, model):
        code, out, _ = cli(
            "prompt", "show", "maths_reasoning", "--data", sums, "--model", model,
            "--style", "{name: few_shot, shots: 2}", "--item", "test-3", "--json",
        )  # fmt: skip
        found = json.loads(out)
        (call,) = found["calls"]
        assert code == 0 and found["item"] == "test-3"
        assert found["style"] == "few_shot(shots=2)"
        assert [turn["role"] for turn in call["messages"]] == ["user", "assistant"] * 2 + ["user"]
        assert call["messages"][-1]["content"] == "What is 3 plus 4?"
        assert load_tokenizer(model).decode(call["ids"]) == call["text"]
        assert call["tokens"] == len(call["ids"]) == len(call["pieces"])
        assert "".join(call["pieces"]) == call["text"]

    def test_a_style_of_two_calls_shows_both_and_marks_what_the_model_will_say(
        self, cli, sums, model
    ):
        code, out, _ = cli(
            "prompt", "show", "maths_reasoning", "--data", sums, "--model", model,
            "--style", "step_back",
        )  # fmt: skip
        assert code == 0 and "call 1 of 2" in out and "call 2 of 2" in out
        assert "assistant: [the model's answer to call 1]" in out

    def test_samples_and_their_sampler_are_said(self, cli, sums, model):
        options = ("--data", sums, "--model", model, "--style", "self_consistency", "--no-tokens")
        code, out, _ = cli("prompt", "show", "maths_reasoning", *options)
        assert code == 0 and "sampled 8 times with top_k k 40 temperature 0.7" in out
        assert "as tokens" not in out

    def test_a_lifecycle_s_exam_is_shown_as_its_run_asks_it(self, cli, sums, model, tmp_path):
        path = tmp_path / "lifecycle.yaml"
        path.write_text(
            f"name: a\nmodel: {model}\ndata: {{sources: [{{name: jsonl, path: {sums}}}]}}\n"
            "evaluate: {tasks: [{name: maths_reasoning, max_new_tokens: 9, style: "
            "{name: few_shot_cot, shots: 1}}]}\n"
        )
        code, out, _ = cli("prompt", "show", path, "--json")
        found = json.loads(out)
        assert code == 0 and found["style"] == "few_shot_cot(shots=1)"
        assert found["calls"][0]["max_new_tokens"] == 9
        assert "100 + 101 = 201." in found["calls"][0]["text"]
        changed = cli("prompt", "show", path, "--set", "evaluate.tasks.0.style=zero_shot", "--json")
        assert json.loads(changed[1])["style"] == "zero_shot"

    def test_a_prompt_too_long_for_the_model_is_marked(self, cli, sums):
        small = tiny_model(context=128)
        style = "{name: few_shot, shots: 6}"
        options = ("--data", sums, "--model", small, "--style", style, "--no-tokens")
        assert "(TOO LONG)" in cli("prompt", "show", "maths_reasoning", *options)[1]

    @pytest.mark.parametrize(
        ("argv", "code", "words"),
        [
            (("maths_reasonin",), 1, "Did you mean 'maths_reasoning'?"),
            (("maths_reasoning", "--style", "few_shots"), 1, "Did you mean 'few_shot'?"),
            (("maths_reasoning", "--style", "{name: few_shot, shot: 2}"), 2, "mean 'shots'?"),
            (("maths_reasoning", "--style", "zero_shot, few_shot"), 2, "--style takes one name"),
            (("maths_reasoning", "--style", "{name: ["), 2, "not valid YAML"),
            (("maths_reasoning", "--item", "test-33"), 1, "Did you mean 'test-3'?"),
            (("maths_reasoning", "--task", "summarisation"), 2, "leave --task out"),
            (("creative_writing",), 1, "Tasks there: maths_reasoning"),
            (
                ("maths_reasoning", "--style", "{name: self_consistency, sampler: greedy}"),
                2,
                "needs a sampler that draws",
            ),
        ],
        ids=str,
    )
    def test_what_is_wrong_is_said_with_the_nearest_right_answer(
        self, cli, sums, argv, code, words
    ):
        found, _, err = cli("prompt", "show", *argv, "--data", sums, "--model", tiny_model())
        assert found == code and words in err


class TestCompare:
    def compare(self, cli, sums, model, *more):
        task = "{name: maths_reasoning, max_new_tokens: 8}"
        return cli("prompt", "compare", model, "--task", task, "--data", sums, *more)

    def test_every_style_gets_the_same_items_and_is_paired_with_the_first(
        self, cli, sums, model, tmp_path
    ):
        styles = "zero_shot, {name: few_shot, shots: 2}, {name: self_consistency, samples: 2}"
        page = tmp_path / "page.html"
        code, out, err = self.compare(
            cli, sums, model, "--items", 4, "--styles", styles, "--out", page, "--json"
        )
        found = json.loads(out)
        assert code == 0 and "zero_shot: 4 items" in err
        names = [one["style"] for one in found["styles"]]
        assert names == ["zero_shot", "few_shot(shots=2)", "self_consistency(samples=2)"]
        items = [
            [one["item"] for one in found["answers"] if one["style"] == name] for name in names
        ]
        assert len(items[0]) == 4 and items[0] == items[1] == items[2]
        first, *others = found["styles"]
        assert first["difference"] is None and first["solved"]["n"] == 4
        assert all(one["difference"]["n"] == 4 for one in others)
        assert found["difference_confidence"] == 0.975
        assert others[0]["per_item"]["tokens_read"] > 2 * first["per_item"]["tokens_read"]
        text = page.read_text()
        assert text.count("<svg") == 2 and "self consistency(samples=2)" in text
        assert not re.search(r"(src|href)=\"?http", text)

    def test_a_table_and_a_picture_are_drawn(self, cli, sums, model, tmp_path):
        out = tmp_path / "styles.png"
        code, text, _ = self.compare(
            cli, sums, model, "--items", 2, "--styles", "zero_shot,chain_of_thought", "--out", out
        )
        assert code == 0 and "points over zero_shot" in text and f"Wrote {out}" in text
        assert out.read_bytes().startswith(b"\x89PNG")

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            (("--styles", "zero_shot,chain_of_thougt"), "Did you mean 'chain_of_thought'?"),
            (("--styles", "zero_shot,zero_shot"), "zero_shot twice"),
            (("--styles", "{name: few_shot, shots: 7}"), "few_shot needs 7 solved rows"),
            (("--sampler", "gredy"), "Did you mean 'greedy'?"),
            (("--out", "plot.gif"), "pictures end with .html, .png, .svg"),
            (("--styles", "[zero_shot]"), "lists names, or names with options"),
        ],
        ids=str,
    )
    def test_what_is_wrong_is_said_before_the_model_is_opened(self, cli, sums, more, words):
        code, _, err = self.compare(cli, sums, "no-such-model", *more)
        assert code in (1, 2) and words in err

    def test_a_style_too_long_for_the_model_is_named_with_the_lengths(self, cli, sums):
        small = tiny_model(context=128)
        code, out, err = self.compare(
            cli, sums, small, "--styles", "zero_shot,{name: few_shot, shots: 6}", "--json"
        )
        assert code == 1 and "The style few_shot(shots=6) writes prompts of up to" in err
        assert "the model's context of 128" in json.loads(out)["error"]


class TestTheStatistics:
    def answers(self, style, right):
        made = [("m", "t", str(n), "q", "a", float(one), one, 1) for n, one in enumerate(right)]
        return [Answer(*one, style) for one in made]

    def test_see_a_difference_that_is_there_and_none_that_is_not(self):
        base = [n % 4 == 0 for n in range(200)]
        better = [n % 4 < 2 for n in range(200)]
        same = [n % 4 == 1 for n in range(200)]
        found = compared(
            {
                name: self.answers(name, right)
                for name, right in (("a", base), ("b", better), ("c", same))
            },
            "exact",
            0,
        )
        assert [m.value for m in found.solved] == [0.25, 0.5, 0.25]
        assert found.difference("a") is None
        assert found.difference("b").value == 0.25
        assert found.difference("b").significance() == "significantly better"
        assert found.difference("c").significance() == "not significant"

    def test_widen_with_the_number_of_styles(self):
        base, other = [n % 4 == 0 for n in range(80)], [n % 3 == 0 for n in range(80)]
        few = {"a": self.answers("a", base), "b": self.answers("b", other)}
        many = few | {name: self.answers(name, base) for name in "cdefg"}
        one, six = (compared(given, "exact", 0).difference("b") for given in (few, many))
        assert six.high - six.low > one.high - one.low


class TestItems:
    def test_a_file_without_splits_is_halved_and_never_shows_what_it_asks(self, tmp_path):
        path = tmp_path / "rows.jsonl"
        rows = [
            {"prompt": f"What is {n}?", "completion": "1", "reference": {"answer": "1"}}
            for n in range(60)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found = items_of(plugins.build(Task, "maths_reasoning"), path)
        asked, shown = ({row["id"] for row in part} for part in (found.asked, found.shots))
        assert len(asked) + len(shown) == 60 and not asked & shown and len(asked) > 15
        assert found.drawn(5, 1) == found.drawn(5, 1) != found.drawn(5, 2)
        with pytest.raises(DataError, match="no test row of creative_writing"):
            named = tmp_path / "named.jsonl"
            named.write_text("".join(json.dumps({**r, "task": "x"}) + "\n" for r in rows))
            items_of(plugins.build(Task, "creative_writing"), named)

    def test_lists_of_styles_are_names_with_or_without_options(self):
        assert techniques("a, {name: b, c: 1}", "--styles") == [
            {"name": "a"},
            {"name": "b", "c": 1},
        ]
        with pytest.raises(ConfigError, match="lists names"):
            techniques("", "--styles")


def test_an_engine_sees_what_show_shows(sums, model, monkeypatch, cli):
    """The ids of `prompt show` are the ids that `prompt compare` hands to the engine."""
    from tunesmith.generation import asking

    got = []

    def answer_ids(engine, prompts, how, seeds, *more):
        got.extend(prompts)
        return [Completion([5], "1", "stop") for _ in prompts]

    monkeypatch.setattr(asking, "answer_ids", answer_ids)
    options = ("--data", sums, "--styles", "chain_of_thought", "--items", 99)
    assert cli("prompt", "compare", model, "--task", "maths_reasoning", *options)[0] == 0
    _, out, _ = cli(
        "prompt", "show", "maths_reasoning", "--data", sums, "--model", model,
        "--style", "chain_of_thought", "--json",
    )  # fmt: skip
    assert got[0] == json.loads(out)["calls"][0]["ids"]
