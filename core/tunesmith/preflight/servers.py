"""The servers that techniques ask: are they there, and do they take our key?"""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith import stages
from tunesmith.endpoints import Endpoint
from tunesmith.nesting import nested_in
from tunesmith.preflight.built import Built
from tunesmith.preflight.outcome import Plan
from tunesmith.techniques import Engine, Technique

_ALSO = {"reward.model": "align"}
"""Techniques that another stage than their own asks too."""


def _all(built: Built) -> Iterator[tuple[str, Technique]]:
    """Yield every technique with its place, and those that are another one's options."""
    for path, technique in built.at.items():
        yield path, technique
        yield from ((f"{path}.{key}", one) for key, one in nested_in(technique).items())


def check(pending: list[str], built: Built, plan: Plan) -> None:
    """Note servers that the stages which have to run could not ask; a cached one asks nobody."""
    refused = {problem.place for problem in plan.problems}
    sections = {stage.section for stage in stages.STAGES if stage.name in pending}
    told: dict[str, list[str]] = {}
    for path, technique in _all(built):
        asks = path.partition(".")[0] in sections or _ALSO.get(path) in pending
        if not asks or path in refused or not isinstance(technique, Endpoint):
            continue
        key = technique.model_dump_json(include={*Endpoint.model_fields, "model", "served_model"})
        if key not in told:
            told[key] = technique.endpoint_problems()
        maker = _maker(path, technique, pending)
        for problem in told[key]:
            if maker:
                plan.warn(path, f"{problem} It is asked when `{maker}` has made the model.")
            else:
                plan.problem(path, problem)


def _maker(path: str, technique: Technique, pending: list[str]) -> str | None:
    """Return the stage that has still to make what a server would serve, so it cannot be there."""
    if not isinstance(technique, Engine):
        return None
    makers = ["tune", *(["optimise"] if path.startswith("optimise.") else [])]
    return next((stage for stage in makers if stage in pending), None)
