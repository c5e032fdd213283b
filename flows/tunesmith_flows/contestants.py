"""The models that are compared: which folder each one is, on which engine, and against whom."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tunesmith import Engine, ModelError, plugins
from tunesmith.evidence.measurements import Answer, Footprint
from tunesmith_flows import answering
from tunesmith_flows.bench import Bench
from tunesmith_flows.combining import REPORT, STUDENT, engine_for
from tunesmith_flows.samples import REFERENCE


@dataclass(frozen=True, slots=True)
class Contestant:
    """One model on one engine; ``parent`` is whom it must not be worse than."""

    name: str
    folder: Path
    engine: Engine
    parameters: int
    parent: str | None = None
    tokenizer_from: Path | None = None
    scratch: Path | None = None
    """Where the weights go in a form that the engine reads, if it does not read the folder."""

    @contextmanager
    def speaks(self) -> Iterator[answering.Speaker]:
        """Open the model; leaving the context frees it."""
        with answering.speaker(
            self.engine, self.folder, self.tokenizer_from, self.scratch
        ) as voice:
            yield voice


def contestants(bench: Bench) -> list[Contestant]:
    """Return the base and every model made since, each after its parent."""
    found: list[Contestant] = []
    for name, folder in _whole_models(bench).items():
        parent = found[-1].name if found else None
        found.append(_whole(bench, name, folder, parent))
    if "optimise" in bench.inputs:
        found += _quantized(bench, found[-1])
    return found


def _whole_models(bench: Bench) -> dict[str, Path]:
    base = bench.base()
    made = {"tuned": bench.inputs.get("tune"), "aligned": bench.inputs.get("align")}
    models = {"base": base} if base else {}
    return models | {name: artifact.path for name, artifact in made.items() if artifact}


def _whole(bench: Bench, name: str, folder: Path, parent: str | None) -> Contestant:
    from tunesmith.models import parameter_count

    # What is released is the folder as it lies there, which the reference engine reads.
    spec = bench.config.evaluate.engine if bench.stage == "evaluate" else REFERENCE
    engine = plugins.build(Engine, spec)
    scratch = bench.work / "on_engine" / name
    return Contestant(name, folder, engine, parameter_count(folder), parent, scratch=scratch)


def _quantized(bench: Bench, parent: Contestant) -> list[Contestant]:
    """Return the quantized model, after its parent on the very same engine."""
    folder = bench.inputs["optimise"].path
    report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    engine = engine_for(report)
    twin = parent_on(bench, parent, engine)
    taught = folder / STUDENT
    home = taught if taught.is_dir() else parent.folder
    small = Contestant("quantized", folder, engine, report["parameters"], twin.name, home)
    return [small] if twin is parent else [twin, small]


def parent_on(bench: Bench, parent: Contestant, engine: Engine) -> Contestant:
    """Return the parent on a plain engine of this name, its weights unchanged.

    So only the bits differ. Raises ModelError where that engine cannot run it.
    """
    from tunesmith.generation.exporting import readable

    if parent.engine.name == engine.name:
        return parent
    plain = plugins.build(Engine, engine.name)
    try:
        folder = readable(plain, parent.folder, bench.work / f"parent-{engine.name}")
    except ModelError as error:
        raise ModelError(
            f"The quantized model runs on {engine.name}, and its parent does not, so the two cannot"
            f" be compared: {error} Choose another quantizer."
        ) from error
    name = f"{parent.name}@{engine.name}"
    return Contestant(name, folder, plain, parent.parameters, parent.name, parent.folder)


def parents(models: Sequence[Contestant]) -> dict[str, str]:
    """Return whom each model is compared with."""
    return {model.name: model.parent for model in models if model.parent}


def footprint(model: Contestant, answers: Sequence[Answer]) -> Footprint:
    """Return what a model weighs, and how much it said."""
    weight = answering.sizes(model.folder)["bytes"]
    return Footprint(
        model=model.name,
        engine=model.engine.name,
        bytes=weight,
        bits_per_weight=8 * weight / model.parameters,
        answers=len(answers),
        new_tokens=sum(answer.tokens for answer in answers),
        parent=model.parent,
    )
