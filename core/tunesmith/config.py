"""One lifecycle, as one YAML file describes it: a section per stage, a stage per section.

A section that is absent (or null) leaves its stage out. Techniques stay dictionaries here, such as
``{"name": "lora", "r": 16}``; `preflight` builds them and reports every one that is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tunesmith import techniques as t
from tunesmith.records import Spec as SpecDict
from tunesmith.reward_card import RewardGate


def named(value: Any) -> Any:
    """Turn a bare name into a spec."""
    return {"name": value} if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Of:
    """Marks a key that holds techniques of a family; ``beside`` are keys that are not options."""

    family: type[t.Technique]
    beside: tuple[str, ...] = ()


Spec = Annotated[SpecDict, BeforeValidator(named)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Section(BaseModel):
    """A part of the config; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def section_inside(annotation: Any) -> type[BaseModel] | None:
    """Return what holds the keys below a key: a section, or null, or each in a list."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


class Data(Section):
    """What the model learns from and is measured on (stage `prepare`)."""

    sources: Annotated[list[Spec], Field(min_length=1), Of(t.DatasetSource)]
    """Where rows come from, in order."""
    filters: Annotated[list[Spec], Of(t.DatasetFilter)] = []
    """What drops or cleans rows, in order."""
    split: dict[Literal["validation", "prompts", "test"], Share] = {
        "test": 0.05,
        "validation": 0.02,
        "prompts": 0.1,
    }
    """Shares for rows that do not say their split: `test` is for `evaluate`, `prompts` for
    `respond` and `align`, the rest is for `tune`."""


class Tune(Section):
    """Fine-tuning, or pre-training with `model: scratch` (stage `tune`)."""

    method: Annotated[Spec, Of(t.TrainingMethod)] = {"name": "sft"}
    """How the weights change."""
    adapter: Annotated[Spec | None, Of(t.Adapter)] = None
    """Which parameters learn; null: all of them."""


class Respond(Section):
    """Answers that will be compared (stage `respond`)."""

    prompts: Count = 400
    """How many prompts of the split `prompts` are answered."""
    tasks: list[str] = []
    """The tasks to take prompts of; empty: all."""
    answers: Annotated[int, Field(ge=2)] = 4
    """Answers per prompt."""
    sampler: Annotated[Spec, Of(t.Sampler)] = {"name": "temperature", "temperature": 1.0}
    """How the answers are drawn."""
    selector: Annotated[Spec, Of(t.PairSelector)] = {"name": "random"}
    """Which two answers are compared."""
    pairs: Count = 1
    """Pairs per prompt."""
    engine: Annotated[Spec, Of(t.Engine)] = {"name": "transformers"}
    """What runs the model, at its own precision; `auto` takes the fastest, by measurement."""


class Collect(Section):
    """Judgements of the pairs (stage `collect`)."""

    source: Annotated[Spec, Of(t.FeedbackSource)] = {"name": "human"}
    """Who judges."""
    overlap: Count = 1
    """Labels wanted per pair, each by another annotator."""
    quorum: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the pairs that must have `overlap` labels before the run goes on."""
    agreement: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Least Krippendorff's alpha; null: any."""
    deadline_hours: Annotated[float, Field(gt=0)] | None = None
    """Hours after which the run goes on with the labels there are; null: it waits."""


class Reward(Section):
    """A model of what annotators prefer, or a rule that needs none of them (stage `reward`)."""

    model: Annotated[Spec, Of(t.RewardModel)] = {"name": "bradley_terry"}
    """How answers are scored."""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the pairs kept for its card."""
    gate: RewardGate | None = RewardGate()
    """What it must show on them before it may train a policy; null: nothing. A rule is tried on
    the solved answers of the prompts instead, which must earn more than an empty one."""


class Align(Section):
    """Training towards the preferences (stage `align`)."""

    method: Annotated[Spec, Of(t.TrainingMethod)] = {"name": "grpo"}
    """How the weights change: with a reward model (grpo, rloo), or from the labels themselves (dpo,
    kto, orpo, cpo, simpo)."""
    adapter: Annotated[Spec | None, Of(t.Adapter)] = None
    """Which parameters learn; null: all of them."""
    prompts: Count = 256
    """How many prompts a method with a reward model tries."""
    tasks: list[str] = []
    """The tasks it takes them of; empty: those of `respond`, or all."""


class Combination(Section):
    """One way to a smaller, faster model: distilled or not, in how many bits, with what beside."""

    quantizer: Annotated[Spec, Of(t.Quantizer)] = {"name": "gguf", "type": "q8_0"}
    """How weights are stored in fewer bits."""
    accelerators: Annotated[list[Spec], Of(t.Accelerator)] = []
    """What makes its engine faster without changing what it says."""
    distil: Annotated[Spec | None, Of(t.Distiller, beside=("student",))] = None
    """A smaller model taught first; besides its options, `student` may name the model folder to
    teach."""

    @property
    def label(self) -> str:
        """Return what it is called: ``gguf q8_0 + prefix_cache``."""
        taught = [self.distil] if self.distil else []
        return " + ".join(_spelt(spec) for spec in (*taught, self.quantizer, *self.accelerators))


class Choose(Section):
    """How one combination is chosen, on the split `validation`: the exams stay unseen."""

    target: Literal["size", "latency", "throughput"] = "size"
    """What to have the best of: bytes, seconds per token of one answer at a time, or tokens per
    second of many at once."""
    budget: Share = 0.03
    """How much quality may be lost: a share of items that the lower bound of each task's paired
    difference from the parent may not pass."""
    tasks: Annotated[list[Spec], Field(min_length=1), Of(t.Task, beside=("style",))]
    """What every combination is asked, as in `evaluate.tasks`."""
    items: Count = 200
    """Items per task."""


class Optimise(Combination):
    """A smaller, faster model that says the same (stage `optimise`)."""

    alternatives: list[Combination] = []
    """Other combinations; all of them are tried, and `choose` takes one."""
    choose: Choose | None = None
    """How to choose; needed as soon as there are alternatives."""

    @property
    def combinations(self) -> dict[str, Combination]:
        """Return all that are tried, by where the config names them."""
        others = {f"optimise.alternatives.{at}": one for at, one in enumerate(self.alternatives)}
        return {"optimise": self, **others}

    @model_validator(mode="after")
    def _can_choose(self) -> Optimise:
        if self.alternatives and self.choose is None:
            raise ValueError("there are alternatives, so say how to `choose` among them")
        labels = [one.label for one in self.combinations.values()]
        for twice in sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"the combination {twice!r} is there twice; keep one")
        return self


def _spelt(spec: SpecDict) -> str:
    """Return a technique in few words: its name, and what its options are set to."""
    told = [str(value) for key, value in spec.items() if key not in ("name", "student")]
    return " ".join([str(spec.get("name", "?")), *(one for one in told if len(one) <= 24)])


class WinRate(Section):
    """A contest between the newest model and the one before it."""

    task: str = "creative_writing"
    """The task whose held-out prompts both answer."""
    prompts: Count = 400
    """How many of them."""
    sampler: Annotated[Spec, Of(t.Sampler)] = {"name": "temperature", "temperature": 1.0}
    """How the answers are drawn."""


class Evaluate(Section):
    """Every model of the run on held-out items, and the gates (stage `evaluate`)."""

    tasks: Annotated[list[Spec], Of(t.Task, beside=("style",))] = []
    """What is asked; besides its options a task may have a `style`: a PromptStyle's name, or a name
    with options (by default zero_shot)."""
    items: Count = 200
    """Items per task, from the split `test`."""
    sampler: Annotated[Spec, Of(t.Sampler)] = {"name": "greedy"}
    """How answers are drawn."""
    engine: Annotated[Spec, Of(t.Engine)] = {"name": "transformers"}
    """What runs the models at their own precision; `auto` takes the fastest, by measurement. A
    quantized model runs on the engine it was made for."""
    win_rate: WinRate | None = None
    """Whether models compete, and how; null: they do not."""
    evaluators: Annotated[list[Spec], Of(t.Evaluator)] = [
        {"name": "task_scores"},
        {"name": "win_rate"},
        {"name": "speed_and_size"},
    ]
    """The numbers made from the answers."""
    gates: Annotated[list[Spec], Of(t.Gate)] = []
    """Rules the numbers must satisfy before `release`."""


class Release(Section):
    """Registration and deployment of what passed its gates (stage `release`)."""

    name: Name
    """The registered model's name."""
    alias: Name | None = "candidate"
    """The alias that then points at this version; null: none."""
    deployer: Annotated[Spec | None, Of(t.Deployer)] = None
    """Where the model goes; null: it is registered only."""


class Lifecycle(Section):
    """A model's life, from data to release."""

    name: Name
    """What runs of this file are called: lower case letters, digits, `.`, `_` and `-`."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Decides everything that is drawn; the same seed gives the same model."""
    model: Annotated[str, Field(min_length=1)] = "builtin:nano"
    """The model to start from: `builtin:nano`, a folder, a Hub id, or `scratch`."""
    data: Data | None = None
    tune: Tune | None = None
    respond: Respond | None = None
    collect: Collect | None = None
    reward: Reward | None = None
    align: Align | None = None
    optimise: Optimise | None = None
    evaluate: Evaluate | None = None
    release: Release | None = None

    @model_validator(mode="after")
    def _has_a_stage(self) -> Lifecycle:
        if not any(isinstance(getattr(self, name), Section) for name in type(self).model_fields):
            raise ValueError("it has no section, so there is nothing to do; begin with `data`")
        return self


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> Lifecycle:
    """Read a lifecycle from YAML and apply ``key=value`` overrides.

    Relative paths in the file start at its folder, those in overrides at the working directory.
    Raises ConfigError naming file, line, key, the nearest right key, and what exists.
    """
    from tunesmith.configfile import read

    return read(Path(path), overrides)


def check_config(value: Any, name: str = "config") -> Lifecycle:
    """Return a lifecycle from plain data; ConfigError as for a file called ``name``."""
    from tunesmith.configfile import check

    return check(value, name)
