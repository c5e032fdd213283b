"""One annotator's turns: what a key press stores, and what it must not.

The database is the truth; the session holds only what belongs to this window. A label is written in
a callback, in one short transaction, for the assignment that the button was drawn for: a click that
arrives when the next pair is already there still means the pair that was seen.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from tunesmith.errors import TunesmithError
from tunesmith.store import labelling
from tunesmith.store.labelling import Turn
from tunesmith_dashboard import reading

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
CALM = 0.5
"""Seconds a pair must have stood on the page, and keys rested, before a press counts.

The second half of a double click and a key held down come sooner; nobody reads two answers in it.
"""
REASONS = ("cannot judge", "unclear task", "broken answer", "harmful")
"""Why somebody skips, the first unless they say otherwise."""
FIELDS = ("comment", "edited", "reason")


@dataclass(frozen=True, slots=True)
class Place:
    """Who labels, and where."""

    campaign: str
    annotator: str


def next_turn(place: Place) -> Turn | None:
    """Return the annotator's turn, the same one after a reload; its lease begins again."""
    turn = labelling.next_assignment(reading.store(), place.campaign, place.annotator)
    if turn is not None:
        _take_up(turn.assignment_id, turn.draft or {})
    return turn


def drawn(turn: Turn) -> None:
    """Note that the whole page of a turn has gone out; only then can anybody have read it.

    Called last: a press that interrupts the drawing finds no such note, and does not count.
    """
    st.session_state.setdefault(key("shown", turn), time.monotonic())


def _key(what: str, turn_id: int) -> str:
    """Name a widget or a fact after the assignment: state of one pair never meets another."""
    return f"{what}-{turn_id}"


def key(what: str, turn: Turn) -> str:
    """Return the key of a widget that belongs to one turn."""
    return _key(what, turn.assignment_id)


def _take_up(turn_id: int, draft: Mapping[str, Any]) -> None:
    """Fill the fields of a turn with what was typed before, unless this window knows better."""
    for name in ("comment", "edited"):
        st.session_state.setdefault(_key(name, turn_id), str(draft.get(name) or ""))
    if draft.get("reason") in REASONS:
        st.session_state.setdefault(_key("reason", turn_id), draft["reason"])


def typed(turn_id: int) -> dict[str, Any]:
    """Return what the annotator has typed or picked beside the choice."""
    found = {name: st.session_state.get(_key(name, turn_id)) for name in FIELDS}
    return {name: value for name, value in found.items() if value}


def save(place: Place, turn_id: int) -> None:
    """Keep what was typed so far in the database, and the pair for its annotator."""
    try:
        labelling.save_draft(reading.store(), turn_id, place.annotator, typed(turn_id))
    except TunesmithError as error:
        say(str(error))


def give(place: Place, turn_id: int, choice: str) -> None:
    """Store a choice for the pair it was made on; once, and not by accident."""
    now, state = time.monotonic(), st.session_state
    rested = now - state.get("pressed", 0.0)
    state["pressed"] = now
    shown = now - state.get(_key("shown", turn_id), now)
    if min(rested, shown) < CALM:
        return say("That came too fast to be meant, so nothing was stored.")
    details = typed(turn_id)
    if choice != "skip":
        details.pop("reason", None)
    elif "reason" not in details:
        details["reason"] = REASONS[0]
    try:
        told = labelling.record_label(
            reading.store(), turn_id, place.annotator, choice, seconds=shown, details=details
        )
    except TunesmithError as error:
        return say(str(error))
    state["last"] = (turn_id, details)
    return say(told.reason) if not told.stored else None


def undo(place: Place) -> None:
    """Take back the newest label; its pair comes back with what was typed."""
    state = st.session_state
    if time.monotonic() - state.get("pressed", 0.0) < CALM:
        return None
    state["pressed"] = time.monotonic()
    try:
        turn_id = labelling.undo_last(reading.store(), place.campaign, place.annotator)
    except TunesmithError as error:
        return say(str(error))
    if turn_id is None:
        return say("There is no label of yours to take back.")
    state.pop(_key("shown", turn_id), None)
    known, details = state.get("last", (None, {}))
    if known == turn_id:
        for name in ("comment", "edited"):
            state[_key(name, turn_id)] = details.get(name, "")
    return say("Taken back: judge this pair again.")


def say(text: str) -> None:
    """Tell the annotator something on the next drawing of the page."""
    st.session_state["said"] = text


def heard() -> str | None:
    """Return what is to be told, once."""
    said: str | None = st.session_state.pop("said", None)
    return said
