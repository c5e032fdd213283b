"""Which engine runs a model fastest here, by measurement, at the model's own precision.

A quantized model is another model: only the engines that read its folder are candidates for it. A
model at full precision may run on every engine that has an unchanged form of it, as long as its
greedy answers there are the reference's. What quantizers would make of it is measured only where
the caller names them, since whoever takes their speed takes their answers too.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunesmith.endpoints import Endpoint
from tunesmith.errors import ModelError, TunesmithError
from tunesmith.generation.answers import REFERENCE, check_expressible
from tunesmith.generation.engine_records import Question
from tunesmith.generation.exporting import keeper, obstacles, readable
from tunesmith.generation.racing import Workload, disagreement, fastest, race
from tunesmith.models import context_length
from tunesmith.plugins import build, host
from tunesmith.records import Spec
from tunesmith.techniques import Engine, OpenEngine, Quantizer, Sampler

ROUNDS = 3
log = logging.getLogger("tunesmith.engines")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine, and the quantizer that makes what it runs; None: the model's own precision."""

    engine: Engine
    quantizer: Quantizer | None = None
    said: str = ""
    """The engine's options that the caller named, e.g. ``exact=False``."""

    @property
    def label(self) -> str:
        """Return its name: the engine's with what was said of it, and how weights are stored."""
        parts = [self.engine.name, self.said]
        if self.quantizer is not None:
            parts += [self.quantizer.name] if self.quantizer.name != self.engine.name else []
            parts += map(str, self.quantizer.model_dump(mode="json").values())
        return " ".join(part for part in parts if part)

    @property
    def is_reference(self) -> bool:
        """Say whether the others' answers are measured by its own."""
        return self.quantizer is None and self.engine.name == REFERENCE

    def folder(self, model: Path, scratch: Path) -> Path:
        """Return the folder that the engine runs, made in ``scratch`` where need be."""
        out = scratch / self.label.replace(" ", "-")
        if self.quantizer is None:
            return readable(self.engine, model, out)
        out.mkdir(parents=True, exist_ok=True)
        self.quantizer.quantize(model, out)
        return out


@dataclass(frozen=True, slots=True)
class Rate:
    """What one candidate did; ``dropped`` says why it was not measured or does not count."""

    label: str
    engine: Spec
    quantizer: Spec | None
    rates: list[float]
    """New tokens per second, one number per round."""
    dropped: str | None = None

    @property
    def median(self) -> float | None:
        """Return the median of the rounds."""
        ordered = sorted(self.rates)
        return ordered[len(ordered) // 2] if ordered else None

    def facts(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "label": self.label,
            "engine": self.engine,
            "quantizer": self.quantizer,
            "rates": self.rates,
            "dropped": self.dropped,
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine for a model and a workload, and what it was chosen by."""

    pick: Rate
    rates: list[Rate]
    workload: Workload
    measured: bool
    """Whether it was measured just now, and not found in the home folder."""

    @property
    def engine(self) -> Engine:
        """Return the engine that was picked."""
        return build(Engine, self.pick.engine)

    def facts(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "workload": self.workload.facts(),
            "pick": self.pick.label,
            "engine": self.pick.engine,
            "quantizer": self.pick.quantizer,
            "tokens_per_second": {one.label: one.median for one in self.rates if one.rates},
            "dropped": {one.label: one.dropped for one in self.rates if one.dropped},
            "measured_now": self.measured,
        }


def candidates(
    model: Path,
    sampler: Sampler,
    among: Sequence[Spec | str] = (),
    quantizers: Sequence[Spec | str] = (),
) -> list[Candidate]:
    """Return what could run a model and draw as the sampler says, the reference first.

    ``among`` are the engines to consider, by name or with options (all that are installed),
    ``quantizers`` what may be made of the model besides. Raises ModelError when nothing is left.
    """
    made = [build(Quantizer, spec) for spec in quantizers]
    known = list(installed(among))
    found = [Candidate(one, None, said) for one, said in known if not obstacles(one, model)]
    found += [
        Candidate(one, maker, said)
        for maker in made
        for one, said in known
        if one.name == maker.engine
    ]
    fitting = [one for one in found if _expresses(one.engine, sampler)]
    if not fitting:
        names = ", ".join(one.name for one, _ in known) or "the engines named"
        raise ModelError(f"None of {names} can run {model} and sample with {sampler.name}.")
    return sorted(fitting, key=lambda one: not one.is_reference)


def installed(among: Sequence[Spec | str] = ()) -> Iterator[tuple[Engine, str]]:
    """Yield the engines that can be used here, each with the options that were named for it.

    What only chooses among others is none of them; what asks a server, which may be anywhere and
    serve anything, is one only when it is named.
    """
    for spec in among or sorted(host().available(Engine)):
        named = {"name": spec} if isinstance(spec, str) else dict(spec)
        kind = host().available(Engine).get(str(named.get("name")))
        if kind is not None and (kind.chosen is not Engine.chosen or _demands(kind, named)):
            continue
        if kind is not None and issubclass(kind, Endpoint) and not among:
            continue
        engine = build(Engine, named)
        writer = None if engine.name == REFERENCE else keeper(engine.name)
        needs = {*engine.needs, *(writer.needs if writer else ())}
        if all(map(_importable, needs)) and not engine.problems():
            said = {key: value for key, value in named.items() if key != "name"}
            yield engine, " ".join(f"{key}={value}" for key, value in said.items())


def _demands(kind: type[Engine], given: Spec) -> bool:
    return any(one.is_required() and key not in given for key, one in kind.model_fields.items())


def _importable(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _expresses(engine: Engine, sampler: Sampler) -> bool:
    try:
        check_expressible(engine, sampler)
    except ModelError:
        return False
    return engine.name == REFERENCE or not sampler.searches


def choose(
    model: Path,
    workload: Workload,
    among: Sequence[Spec | str] = (),
    quantizers: Sequence[Spec | str] = (),
    *,
    again: bool = False,
    rounds: int = ROUNDS,
) -> Choice:
    """Return the fastest candidate, from the home folder or by measuring it now.

    It is measured anew when a version, the machine, or the model's shape is another, and with
    ``again``. A single candidate is not measured. Raises ModelError when nothing runs the model,
    ConfigError for a workload that does not fit its context.
    """
    workload.check(context_length(model))
    sampler = build(Sampler, workload.sampler)
    suited = [
        replace(one, engine=one.engine.suited(model, workload.streams))
        for one in candidates(model, sampler, among, quantizers)
    ]
    if len(suited) == 1:
        alone = _rate(suited[0], [])
        return Choice(alone, [alone], workload, measured=False)
    makers = [one.quantizer for one in suited if one.quantizer is not None]
    question = Question.of(model, workload, [*(one.engine for one in suited), *makers])
    known = None if again else question.answer()
    if known is not None:
        return _told(known, workload)
    names = ", ".join(one.label for one in suited)
    log.warning("Measuring %s for %d streams; this is done once.", names, workload.streams)
    with tempfile.TemporaryDirectory(prefix="tunesmith-engines-") as scratch:
        rates = measure(suited, model, workload, rounds, Path(scratch))
    pick = _picked(rates)
    question.keep({"pick": pick.label, "rates": [one.facts() for one in rates]})
    return Choice(pick, rates, workload, measured=True)


def measure(
    suited: Sequence[Candidate], model: Path, workload: Workload, rounds: int, scratch: Path
) -> list[Rate]:
    """Return what each candidate does; one that fails, or says something else, is dropped."""
    from tunesmith.model_facts import inspect_model

    vocabulary = inspect_model(model).vocab
    entrants: dict[str, OpenEngine] = {}
    dropped: dict[str, str] = {}
    with ExitStack() as stack:
        reference = _witness(suited, model, stack)
        for one in suited:
            trouble: str | None = None
            try:
                opened = stack.enter_context(one.engine.open(one.folder(model, scratch)))
                if one.is_reference:
                    reference = reference or opened
                elif one.quantizer is None and reference is not None:
                    trouble = disagreement(reference, opened, workload, vocabulary)
            except TunesmithError as error:
                trouble = str(error)
            if trouble is None:
                entrants[one.label] = opened
            else:
                dropped[one.label] = trouble
        rates = race(entrants, workload, vocabulary, rounds) if entrants else {}
    return [_rate(one, rates.get(one.label, []), dropped.get(one.label)) for one in suited]


def _witness(suited: Sequence[Candidate], model: Path, stack: ExitStack) -> OpenEngine | None:
    """Open the reference, where it is no candidate itself, to compare the others' answers with."""
    engine = build(Engine, REFERENCE)
    if any(one.is_reference for one in suited) or not engine.reads(model):
        return None
    return stack.enter_context(engine.open(model))


def _picked(rates: Sequence[Rate]) -> Rate:
    running = {one.label: one.rates for one in rates if one.rates}
    if not running:
        told = "; ".join(f"{one.label}: {one.dropped}" for one in rates)
        raise ModelError(f"No engine can run this model. {told}")
    best = fastest(running)
    return next(one for one in rates if one.label == best)


def _rate(one: Candidate, rates: list[float], dropped: str | None = None) -> Rate:
    kept = [round(rate, 3) for rate in rates]
    return Rate(one.label, _spec(one.engine), _spec(one.quantizer), kept, dropped)


def _spec(one: Engine | Quantizer | None) -> Any:
    return None if one is None else {"name": one.name, **one.model_dump(mode="json")}


def _told(answer: dict[str, Any], workload: Workload) -> Choice:
    rates = [Rate(**one) for one in answer["rates"]]
    pick = next(one for one in rates if one.label == answer["pick"])
    return Choice(pick, rates, workload, measured=False)
