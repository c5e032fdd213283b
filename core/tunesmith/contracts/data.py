"""What dataset sources and dataset filters promise."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import islice
from typing import Any

from tunesmith.contracts.rules import (
    Breach,
    Subject,
    must_be,
    must_be_json,
    plainly,
    shown,
)
from tunesmith.contracts.samples import endless_rows, rows, rows_of
from tunesmith.errors import DataError
from tunesmith.records import Row
from tunesmith.rows import check_row, to_conversational

_ENOUGH = 200


def _some(source: Any) -> list[Row]:
    found = source.rows()
    if not isinstance(found, Iterator):
        raise Breach(f"must yield rows from rows(); it returned {shown(found)}")
    return list(islice(found, _ENOUGH))


def yields_rows(subject: Subject) -> None:
    """rows() yields at least one dict of a TRL dataset type."""
    found = _some(subject.build())
    if not found:
        raise Breach("yields no row")
    for number, row in enumerate(found):
        must_be(row, dict, "rows()", "dicts")
        try:
            check_row(to_conversational(row), f"row {number}")
        except DataError as error:
            raise Breach(f"yields what cannot be learnt from: {str(error).rstrip('.')}") from error
        must_be_json(row, f"row {number}")


def yields_them_again(subject: Subject) -> None:
    """Asked again it yields the same rows in the same order."""
    source = subject.build()
    if _some(source) != _some(source):
        raise Breach("yields other rows when it is asked again; results are cached and resumed")


def has_a_steady_fingerprint(subject: Subject) -> None:
    """fingerprint() returns a string, the same one as long as the rows are the same."""
    source = subject.build()
    first = source.fingerprint()
    must_be(first, str, "fingerprint()", "a string")
    if source.fingerprint() != first:
        raise Breach("has another fingerprint each time, so nothing is ever found in the cache")


SOURCE = plainly(yields_rows, yields_them_again, has_a_steady_fingerprint)


def _applied(one: Any, given: list[Row]) -> list[Row]:
    found = one.apply(iter(given))
    if not hasattr(found, "__iter__"):
        raise Breach(f"must yield rows from apply(); it returned {shown(found)}")
    kept = list(found)
    for row in kept:
        must_be(row, dict, "apply()", "dicts")
    return kept


def keeps_rows_in_order(subject: Subject) -> None:
    """It yields some of the rows it was given, in their order, none twice and none of its own."""
    given = rows()
    places = {row["id"]: at for at, row in enumerate(given)}
    kept = [places.get(row.get("id")) for row in _applied(subject.build(), given)]
    if None in kept:
        raise Breach("yields a row that it was not given (or drops the `id` of one)")
    order = [place for place in kept if place is not None]
    if len(set(order)) < len(order):
        raise Breach("yields a row twice")
    if order != sorted(order):
        raise Breach("changes the order of the rows; yield them as they come")


def leaves_rows_alone(subject: Subject) -> None:
    """It does not change the rows it is given; a cleaned row is a new one."""
    given = rows()
    before = copy.deepcopy(given)
    _applied(subject.build(), given)
    if given != before:
        at = next(n for n, row in enumerate(given) if row != before[n])
        raise Breach(f"changed row {at} in place; yield a copy, e.g. {{**row, 'text': ...}}")


def is_lazy(subject: Subject) -> None:
    """It yields a row before it has read a thousand."""
    seen = [0]
    first = next(iter(subject.build().apply(endless_rows(seen))), None)
    if first is not None and seen[0] == 1000:
        raise Breach("reads every row before it yields one; memory would have to hold them all")


def takes_every_type(subject: Subject) -> None:
    """It takes rows of every TRL dataset type, and none at all."""
    one = subject.build()
    for kind in ("prompt-completion", "preference", "language-modelling", "prompt-only"):
        for row in _applied(one, rows_of(kind)):
            try:
                check_row(row)
            except DataError as error:
                raise Breach(f"spoils a row of the type {kind}: {error}") from error
    if _applied(one, []):
        raise Breach("yields rows although it was given none")


def remembers_nothing(subject: Subject) -> None:
    """Applied again to the same rows it keeps the same ones."""
    one = subject.build()
    if _applied(one, rows()) != _applied(one, rows()):
        raise Breach("keeps other rows the second time; keep what it remembers inside apply()")


FILTER = plainly(
    keeps_rows_in_order, leaves_rows_alone, is_lazy, takes_every_type, remembers_nothing
)
