"""What evaluators and gates promise."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from tunesmith.contracts.rules import Breach, Subject, must_be, must_be_json, plainly, shown
from tunesmith.contracts.samples import evidence, measurements
from tunesmith.evidence.measurements import Evidence, Measurement, Verdict


def _measured(evaluator: Any, given: Evidence) -> list[Measurement]:
    found: list[Measurement] = evaluator.measure(given)
    must_be(found, list, "measure()", "a list of tunesmith.Measurement")
    for one in found:
        must_be(one, Measurement, "measure()", "tunesmith.Measurement objects")
    return found


def measures(subject: Subject) -> None:
    """measure(evidence) returns named numbers inside their intervals, with sample sizes."""
    for one in _measured(subject.build(), evidence()):
        if not one.name or not one.model:
            raise Breach(f"gave a number without a name or a model: {shown(one)}")
        must_be_json(asdict(one), f"the measurement {one.key}")
        for number in (one.value, one.low, one.high):
            must_be(number, (int, float), f"the measurement {one.key} must hold numbers; it", "any")
        if one.finite and not one.low <= one.value <= one.high:
            raise Breach(f"says {one.key} is {one.value}, outside its own [{one.low}, {one.high}]")
        if not isinstance(one.n, int) or one.n < 0:
            raise Breach(f"says {one.key} was made of {one.n!r} items")


def names_each_number_once(subject: Subject) -> None:
    """No two of its numbers have one key."""
    keys = [one.key for one in _measured(subject.build(), evidence())]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise Breach(f"gives {twice} twice; a gate could not tell them apart")


def measures_nothing_calmly(subject: Subject) -> None:
    """Without evidence it returns an empty list or numbers that are NaN, and raises nothing."""
    for one in _measured(subject.build(), Evidence()):
        if not math.isnan(one.value):
            raise Breach(f"says {one.key} is {one.value} although there is no evidence at all")


def measures_the_same_again(subject: Subject) -> None:
    """The same evidence gives the same numbers."""
    evaluator = subject.build()
    if repr(_measured(evaluator, evidence())) != repr(_measured(evaluator, evidence())):
        raise Breach("measured something else the second time; draw from evidence.seed")


EVALUATOR = plainly(
    measures, names_each_number_once, measures_nothing_calmly, measures_the_same_again
)


def _decided(gate: Any, given: list[Measurement]) -> Verdict:
    verdict: Verdict = gate.decide(given)
    must_be(verdict, Verdict, "decide()", "a tunesmith.Verdict")
    if not isinstance(verdict.passed, bool):
        raise Breach(f"must say passed=True or False; it said {shown(verdict.passed)}")
    if not (isinstance(verdict.reason, str) and verdict.reason.strip()):
        raise Breach("gives no reason; a person has to read why")
    if not (isinstance(verdict.gate, str) and verdict.gate.strip()):
        raise Breach("does not say what it asks for; Verdict.gate is shown with the result")
    return verdict


def decides(subject: Subject) -> None:
    """decide(measurements) returns a Verdict with a reason and the keys of what it looked at."""
    given = measurements()
    verdict = _decided(subject.build(), given)
    unknown = set(verdict.measurements) - {one.key for one in given}
    if unknown:
        raise Breach(f"says it looked at {unknown.pop()!r}, which was not measured")
    must_be_json(asdict(verdict), "the verdict")


def passes_nothing_unmeasured(subject: Subject) -> None:
    """Without measurements it does not pass."""
    if _decided(subject.build(), []).passed:
        raise Breach("passes although nothing was measured; missing evidence never passes")


def passes_no_nan(subject: Subject) -> None:
    """Numbers that are not finite do not pass."""
    if _decided(subject.build(), measurements(math.nan)).passed:
        raise Breach("passes numbers that are NaN; ask `measurement.finite` first")


def decides_the_same_again(subject: Subject) -> None:
    """The same measurements give the same verdict."""
    gate = subject.build()
    if _decided(gate, measurements()) != _decided(gate, measurements()):
        raise Breach("decided otherwise the second time")


GATE = plainly(decides, passes_nothing_unmeasured, passes_no_nan, decides_the_same_again)
