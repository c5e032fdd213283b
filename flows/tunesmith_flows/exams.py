"""What the models are asked: papers of task items with one right answer, and a writing contest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from tunesmith import DataError, Pair, Row, Sampler, Task, plugins
from tunesmith.evidence.measurements import Answer, Duel, read_json_lines, write_json_lines
from tunesmith.promises import listed
from tunesmith.prompts import label
from tunesmith.records import Spec
from tunesmith.stagekeys import stage_seed
from tunesmith.techniques import FeedbackSource, PromptStyle
from tunesmith_flows.answering import Speaker, choose, last_words, longest_answer, prompt_of
from tunesmith_flows.bench import Bench, whole_file, write_json


@dataclass(frozen=True, slots=True)
class Paper:
    """Held-out items of one task, asked in one style."""

    number: int
    """Its place in the config; a task may be asked in several styles."""
    task: Task
    style: PromptStyle
    rows: Sequence[Row]
    shots: Sequence[Row]
    """Solved rows that the style may show."""
    sampler: Sampler
    seed: int

    def sit(self, bench: Bench, model: str, voice: Speaker) -> list[Answer]:
        """Let a model answer every item, and score what it said; asked again, read it again."""
        noted = bench.work / f"{quote(model, safe='@')}-{self.number}.jsonl"
        if noted.is_file():
            return read_json_lines(noted, Answer)
        bench.report({"doing": f"{model}: {self.task.name} {label(self.style)}"})
        answers = voice.sit(
            bench, model, self.task, self.style, self.rows, self.shots, self.sampler, self.seed
        )
        whole_file(noted, lambda path: write_json_lines(path, answers))
        return answers


def papers(
    bench: Bench, tasks: Sequence[Spec], sampler: Spec, split: str, items: int
) -> list[Paper]:
    """Return one paper per task, of up to ``items`` rows of a split; the same for every model."""
    rows, train, drawn = bench.rows(split), bench.rows("train"), plugins.build(Sampler, sampler)
    found = []
    for number, spec in enumerate(tasks):
        options = dict(spec)
        style = plugins.build(PromptStyle, options.pop("style", "zero_shot"))
        task = plugins.build(Task, options)
        asked = _asked(choose(rows, [task.name], items, bench.seed), task, split)
        shots = [row for row in train if row.get("task") == task.name]
        for row in asked:  # too few shots are an error now, not when the first model has answered
            listed(style, "messages", style.messages(task, row, shots), dict)
        seed = stage_seed(bench.seed, f"{task.name}/{style.name}")
        found.append(Paper(number, task, style, asked, shots, drawn, seed))
    return found


def _asked(rows: list[Row], task: Task, split: str) -> list[Row]:
    if not rows:
        raise DataError(
            f"{task.name} is to be asked, but the split `{split}` has no row of that task. Give"
            f" data.split.{split} a share, or leave the task out."
        )
    return rows


@dataclass(frozen=True, slots=True)
class Contest:
    """Two models write to the same prompts; a judge who knows the worth compares them.

    The judge is the feedback source's noiseless utility, never the reward that trained a model.
    """

    rows: Sequence[Row]
    model: str
    baseline: str
    sampler: Sampler
    seed: int
    judge: FeedbackSource

    @property
    def models(self) -> tuple[str, str]:
        """The two that meet."""
        return self.model, self.baseline

    @property
    def judged_by(self) -> str:
        """Who says what an answer is worth."""
        return f"noiseless utility of the feedback source {self.judge.name!r}"

    def write(self, bench: Bench, model: str, voice: Speaker) -> list[str]:
        """Return one sampled answer per prompt; both models draw from the same seeds."""
        noted = bench.work / f"{model}-contest.json"
        if not noted.is_file():
            texts = self._write(bench, voice)
            whole_file(noted, lambda path: write_json(path, texts))
        found: list[str] = json.loads(noted.read_text(encoding="utf-8"))
        return found

    def _write(self, bench: Bench, voice: Speaker) -> list[str]:
        bench.report({"doing": "writing for the win rate"})
        prompts = [prompt_of(row) for row in self.rows]
        longest = longest_answer(self.rows[0].get("task"))
        done = voice.answer(bench, prompts, self.sampler, longest, self.seed)
        return [completion.text for completion in done]

    def duels(self, stories: Mapping[str, Sequence[str]]) -> list[Duel]:
        """Return the duels, none where the judge does not know what an answer is worth."""
        ours, theirs = stories[self.model], stories[self.baseline]
        found = [self._duel(*one) for one in zip(self.rows, ours, theirs, strict=True)]
        return [duel for duel in found if duel is not None]

    def _duel(self, row: Row, answer: str, other: str) -> Duel | None:
        task, prompt = str(row.get("task", "")), prompt_of(row)
        pair = Pair(str(row["id"]), task, prompt, answer, other, row.get("reference", {}))
        worth, other_worth = self.judge.utility(pair, answer), self.judge.utility(pair, other)
        if worth is None or other_worth is None:
            return None
        return Duel(
            item=str(row["id"]),
            task=task,
            model=self.model,
            baseline=self.baseline,
            answer=answer,
            baseline_answer=other,
            utility=worth,
            baseline_utility=other_worth,
            prompt=last_words(row),
        )


def contest(bench: Bench) -> Contest | None:
    """Return the contest between the newest whole model and the one before it, if one is due."""
    wanted, collect = bench.config.evaluate.win_rate, bench.config.collect
    made = [name for name in ("align", "tune") if name in bench.inputs]
    if wanted is None or collect is None or not made:
        return None
    rows = choose(bench.rows("test"), [wanted.task], wanted.prompts, bench.seed)
    if not rows:
        raise DataError(f"evaluate.win_rate: the split `test` has no row of {wanted.task}.")
    model, baseline = ("aligned", "tuned") if "align" in made else ("tuned", "base")
    return Contest(
        rows=rows,
        model=model,
        baseline=baseline if "tune" in made else "base",
        sampler=plugins.build(Sampler, wanted.sampler),
        seed=stage_seed(bench.seed, "win_rate"),
        judge=plugins.build(FeedbackSource, collect.source),
    )
