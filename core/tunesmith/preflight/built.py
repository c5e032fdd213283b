"""Build every technique the planned stages name, and collect all that is wrong with them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tunesmith import plugins, stages
from tunesmith.config import Lifecycle
from tunesmith.errors import TunesmithError
from tunesmith.places import Place, places
from tunesmith.preflight.outcome import Plan
from tunesmith.promises import listed
from tunesmith.techniques import Engine, Quantizer, Technique

T = TypeVar("T", bound=Technique)
_PACKAGES = {"sklearn": "scikit-learn", "yaml": "pyyaml", "PIL": "pillow"}


@dataclass(slots=True)
class Built:
    """The techniques that could be built, by where the config names them."""

    at: dict[str, Technique] = field(default_factory=dict)

    def one(self, path: str, family: type[T]) -> T | None:
        """Return the technique at a place, None where there is none or it is broken."""
        found = self.at.get(path)
        return found if isinstance(found, family) else None

    def under(self, path: str, family: type[T]) -> dict[str, T]:
        """Return the techniques of a family below a place, by their places."""
        return {
            place: technique
            for place, technique in self.at.items()
            if place.startswith(f"{path}.") and isinstance(technique, family)
        }


def build_all(config: Lifecycle, wanted: list[str], plan: Plan) -> Built:
    """Build what the wanted stages need; note unknown names, wrong options, missing modules."""
    sections = {stage.section for stage in stages.STAGES if stage.name in wanted}
    built = Built()
    for place in places(config):
        if place.section not in sections:
            continue
        technique = _build(place, plan)
        if technique is not None:
            built.at[place.path] = technique
            _check(place, technique, plan)
    for path, quantizer in list(built.under("optimise", Quantizer).items()):
        _engine_of_quantizer(path, quantizer, built, plan)
    return built


def _build(place: Place, plan: Plan) -> Technique | None:
    try:
        return plugins.build(place.family, place.spec)
    except TunesmithError as error:
        plan.problem(place.path, str(error))
    return None


def _check(place: Place, technique: Technique, plan: Plan) -> None:
    for module in technique.needs:
        if not _importable(module):
            package = _PACKAGES.get(module, module)
            plan.problem(
                place.path,
                f"{technique.name} needs the module {module!r}, which is not installed:"
                f" `pip install {package}`.",
            )
    for question in (technique.lacks, technique.problems):
        for problem in asked(question, technique, place.path, plan):
            plan.problem(place.path, problem)


def asked(
    question: Callable[[], list[str]], technique: Technique, path: str, plan: Plan
) -> list[str]:
    """Return a technique's own objections; one that cannot even be asked is a problem itself."""
    try:
        verb = getattr(question, "__name__", "problems")
        return listed(technique, verb, question(), str)
    except TunesmithError as error:
        return [str(error)]
    # A stranger's check may raise anything, and must not hide what the others say.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        where = plugins.host().provenance(technique)
        plan.problem(
            path,
            f"{technique.name} could not be checked ({type(error).__name__}: {error});"
            f" this is a defect of the plugin {where}.",
        )
    return []


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _engine_of_quantizer(path: str, quantizer: Quantizer, built: Built, plan: Plan) -> None:
    """Build the engine that a quantizer writes for, which no config names."""
    place = Place(f"{path}.engine", Engine, {"name": quantizer.engine})
    try:
        engine = plugins.build(Engine, place.spec)
    except TunesmithError as error:
        plan.problem(path, f"what {quantizer.name} writes runs on {quantizer.engine!r}. {error}")
        return
    built.at[place.path] = engine
    _check(place, engine, plan)
