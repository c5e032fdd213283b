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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

    @property
    def label(self) -> str:
        """Return its name: the engine's, and how the quantizer stores weights."""
        return self.engine.name if self.quantizer is None else f"{self.engine.name} {self._kind()}"

    def _kind(self) -> str:
        assert self.quantizer is not None
        name, options = self.quantizer.name, self.quantizer.model_dump(mode="json").values()
        return " ".join([*([name] if name != self.engine.name else []), *map(str, options)])

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
    model: Path, sampler: Sampler, among: Sequence[str] = (), quantizers: Sequence[Spec | str] = ()
) -> list[Candidate]:
    """Return what could run a model and draw as the sampler says, the reference first.

    ``among`` names the engines to consider (all that are installed), ``quantizers`` what may be
    made of the model besides. Raises ModelError when nothing is left.
    """
    made = [build(Quantizer, spec) for spec in quantizers]
    known = [one for one in installed(among) if not obstacles(one, model)]
    found = [Candidate(one) for one in known]
    found += [Candidate(one, maker) for maker in made for one in installed([maker.engine])]
    fitting = [one for one in found if _expresses(one.engine, sampler)]
    if not fitting:
        names = ", ".join(among) or "installed engines"
        raise ModelError(f"None of {names} can run {model} and sample with {sampler.name}.")
    return sorted(
        fitting, key=lambda one: one.quantizer is not None or one.engine.name != REFERENCE
    )


def installed(among: Sequence[str] = ()) -> Iterator[Engine]:
    """Yield the engines that can be used here; what only chooses among others is none."""
    for name, kind in sorted(host().available(Engine).items()):
        chooses = kind.chosen is not Engine.chosen
        if chooses or (among and name not in among) or _demands(kind):
            continue
        engine = build(Engine, name)
        writer = None if name == REFERENCE else keeper(name)
        needs = {*engine.needs, *(writer.needs if writer else ())}
        if all(map(_importable, needs)) and not engine.problems():
            yield engine


def _demands(kind: type[Engine]) -> bool:
    return any(field.is_required() for field in kind.model_fields.values())


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
    among: Sequence[str] = (),
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
        Candidate(one.engine.suited(model, workload.streams), one.quantizer)
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
        for one in suited:
            try:
                folder = one.folder(model, scratch)
                opened = stack.enter_context(one.engine.open(folder))
                trouble = _trouble(one, opened, entrants, workload, vocabulary)
            except TunesmithError as error:
                trouble = str(error)
            if trouble is None:
                entrants[one.label] = opened
            else:
                dropped[one.label] = trouble
        rates = race(entrants, workload, vocabulary, rounds) if entrants else {}
    return [_rate(one, rates.get(one.label, []), dropped.get(one.label)) for one in suited]


def _trouble(
    one: Candidate,
    opened: OpenEngine,
    entrants: dict[str, OpenEngine],
    workload: Workload,
    vocabulary: int,
) -> str | None:
    """Return how an engine at the model's own precision says something else than the reference."""
    reference = entrants.get(REFERENCE)
    if one.quantizer is not None or reference is None:
        return None
    return disagreement(reference, opened, workload, vocabulary)


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
