"""The first rows of every source: of the right type, in the right splits, short enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from tunesmith import rows as row_types
from tunesmith import splits
from tunesmith.config import Lifecycle
from tunesmith.errors import DataError, TunesmithError
from tunesmith.model_facts import ModelFacts
from tunesmith.preflight.built import Built, asked
from tunesmith.preflight.outcome import Plan
from tunesmith.prompts import label
from tunesmith.records import Message, Row
from tunesmith.stages import learns_from_labels, tried_tasks
from tunesmith.techniques import DatasetSource, PromptStyle, RewardModel, Task, TrainingMethod

FIRST = 300
"""Rows looked at per source."""


@dataclass(slots=True)
class Sample:
    """The first rows; ``whole`` when there are no others."""

    rows: list[Row] = field(default_factory=list)
    whole: bool = True
    broken: bool = False

    def of(self, split: str) -> list[Row]:
        """Return the rows that may end in a split: those that say so, and those that say none."""
        return [row for row in self.rows if row.get("split", split) == split]


def peek(config: Lifecycle, built: Built, plan: Plan) -> Sample:
    """Read the first rows of every source; what cannot be read is noted with its place."""
    sample = Sample()
    refused = {problem.place for problem in plan.problems}
    for number in range(len(config.data.sources) if config.data else 0):
        path = f"data.sources.{number}"
        source = built.one(path, DatasetSource)
        if source is None or path in refused:
            sample.broken = True
            continue
        first = _first(source, path, plan)
        sample.broken |= first is None
        sample.rows += (first or [])[:FIRST]
        sample.whole &= len(first or []) <= FIRST
    sample.whole &= not sample.broken
    return sample


def _first(source: DatasetSource, path: str, plan: Plan) -> list[Row] | None:
    try:
        return list(islice(source.rows(), FIRST + 1))
    except (TunesmithError, OSError) as error:
        plan.problem(path, str(error))
    # A stranger's source may raise anything.
    except Exception as error:  # noqa: BLE001
        plan.problem(path, f"{source.name} could not be read: {type(error).__name__}: {error}.")
    return None


def check(
    config: Lifecycle,
    wanted: list[str],
    built: Built,
    sample: Sample,
    facts: ModelFacts | None,
    plan: Plan,
) -> None:
    """Note rows that the stages cannot use."""
    if not sample.rows and not sample.broken:
        plan.problem("data.sources", "they give no rows at all.")
    _check_ids(sample, plan)
    _check_types(wanted, built, sample, plan)
    _check_splits(config, wanted, built, sample, plan)
    _check_tasks(wanted, built, sample, plan)
    _check_rule(config, wanted, built, sample, plan)
    if facts is not None and facts.context:
        _check_lengths(wanted, built, sample, facts.context, plan)


def _check_ids(sample: Sample, plan: Plan) -> None:
    try:
        for _ in row_types.identify(sample.rows):
            pass
    except DataError as error:
        plan.problem("data.sources", str(error))


def _check_types(wanted: list[str], built: Built, sample: Sample, plan: Plan) -> None:
    lessons = [("tune", "train", "tune.method"), ("align", "prompts", "align.method")]
    for stage, split, path in lessons:
        method = built.one(path, TrainingMethod)
        if stage not in wanted or method is None or not method.rows_type:
            continue
        if stage == "align" and learns_from_labels(method):
            continue  # it learns from the labels, not from these rows
        _require(sample.of(split), method.rows_type, f"{stage} ({method.name})", split, plan)
    if "respond" in wanted:
        _require(sample.of("prompts"), "prompt-only", "respond", "prompts", plan)


def _require(rows: Sequence[Row], kind: str, stage: str, split: str, plan: Plan) -> None:
    if rows:  # none among the first rows says nothing of the others
        try:
            row_types.require(rows, kind, stage)
        except DataError as error:
            plan.problem("data.sources", f"{error} (Rows of the split {split} are meant.)")


def _check_splits(
    config: Lifecycle, wanted: list[str], built: Built, sample: Sample, plan: Plan
) -> None:
    """Note a split that a stage needs and nothing goes to."""
    users = {"tune": "train", "respond": "prompts", "evaluate": "test", "release": "test"}
    model = built.one("reward.model", RewardModel)
    if model is not None and not learns_from_labels(model):
        users["reward"] = "prompts"
    shares = _shares(config)
    found = _sizes(config, sample, plan) if sample.whole else None
    for stage, split in users.items():
        if stage not in wanted or not sample.rows:
            continue
        undecided = any("split" not in row for row in sample.rows)
        empty = found is not None and not found.get(split)
        if empty or (found is None and undecided and split != "train" and not shares.get(split)):
            plan.problem(
                "data.split",
                f"{stage} needs rows in the split {split}, and of the {len(sample.rows)} rows none"
                f" goes there. Give data.split.{split} a larger share, or more rows.",
            )


def _shares(config: Lifecycle) -> dict[str, float]:
    return {str(name): share for name, share in config.data.split.items()} if config.data else {}


def _sizes(config: Lifecycle, sample: Sample, plan: Plan) -> dict[str, int] | None:
    """Split the rows as `prepare` will, where all of them are known."""
    from tunesmith.stagekeys import stage_seed

    try:
        divided = splits.split_rows(
            sample.rows, _shares(config), stage_seed(config.seed, "prepare")
        )
    except TunesmithError as error:
        plan.problem("data.split", str(error))
        return None
    return {name: len(rows) for name, rows in divided.items()}


def _check_tasks(wanted: list[str], built: Built, sample: Sample, plan: Plan) -> None:
    if "evaluate" not in wanted:
        return
    tests = sample.of("test")
    for path, task in built.under("evaluate.tasks", Task).items():
        own = [row for row in tests if row.get("task") == task.name]
        if own:
            _check_reference(path, task, own[0], plan)
        elif sample.whole and tests:
            plan.problem(
                path,
                f"no row of the split test belongs to {task.name}. Say `task: {task.name}` in the"
                " source whose rows are meant.",
            )


def _check_rule(
    config: Lifecycle, wanted: list[str], built: Built, sample: Sample, plan: Plan
) -> None:
    """Note prompts that a rule which rewards their answers could not score."""
    model = built.one("reward.model", RewardModel)
    question = getattr(model, "problems_with_rows", None)
    if model is None or question is None or "reward" not in wanted:
        return
    tasks = tried_tasks(config)
    rows = [row for row in sample.of("prompts") if not tasks or row.get("task") in tasks]
    for problem in asked(partial(question, rows), model, "reward.model", plan):
        plan.problem("reward.model", problem)


def _check_reference(path: str, task: Task, row: Row, plan: Plan) -> None:
    if not row.get("reference"):
        plan.problem(
            path,
            f"row {row.get('id', 1)} has no `reference` to score an answer against. Map one with"
            " the source's `columns`, e.g. {reference.answer: answer}.",
        )


def _check_lengths(
    wanted: list[str], built: Built, sample: Sample, context: int, plan: Plan
) -> None:
    """Note prompts that leave no room for an answer; counted with the model's own tokenizer."""
    for path, task in built.under("evaluate.tasks", Task).items():
        style = built.one(f"{path}.style", PromptStyle)
        rows = [row for row in sample.of("test") if _is_asked(row, task)][:FIRST]
        if style is not None and rows:
            _check_paper(path, task, style, rows, sample, context, plan)


def _is_asked(row: Row, task: Task) -> bool:
    return row.get("task") == task.name and "prompt" in row


def _check_paper(
    path: str,
    task: Task,
    style: PromptStyle,
    rows: Sequence[Row],
    sample: Sample,
    context: int,
    plan: Plan,
) -> None:
    shots = [row for row in sample.of("train") if row.get("task") == task.name]
    try:
        asked = [style.messages(task, row, shots) for row in rows]
    except TunesmithError as error:
        if sample.whole:  # among rows not looked at yet there may be enough to show
            plan.problem(f"{path}.style", str(error))
        return
    # A stranger's style may raise anything.
    except Exception as error:  # noqa: BLE001
        what = f"{type(error).__name__}: {error}"
        plan.problem(f"{path}.style", f"{style.name} could not write a prompt: {what}.")
        return
    longest = task.max_new_tokens
    for row, length in zip(
        rows, _lengths(asked, Path(plan.facts["model"]["folder"])), strict=False
    ):
        if length + longest > context:
            plan.problem(
                "evaluate.tasks",
                f"row {row.get('id', '?')} of {task.name}, asked in the style {label(style)}, has"
                f" about {length:,} tokens; with an answer of {longest} they exceed the model's"
                f" context of {context:,}. Leave long rows out with the filter `length`, show fewer"
                " shots, or lower max_new_tokens.",
            )
            return


def _lengths(prompts: Sequence[list[Message]], folder: Path) -> list[int]:
    """Return about how many tokens the prompts have; nothing where only slow code could tell."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return []
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    texts = [row_types.texts(prompt) for prompt in prompts]
    return [len(one.ids) for one in tokenizer.encode_batch(texts)]
