"""What pages read: the store of this home, and the facts of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from tunesmith import settings
from tunesmith import store as stores
from tunesmith.errors import TunesmithError
from tunesmith.report.facts import RunFacts
from tunesmith.report.gather import gather
from tunesmith.store import Store

UNFINISHED = ("RUNNING", "WAITING")


def store() -> Store:
    """Return the store; where it cannot be opened, say why and end the page."""
    with told():
        return _opened(str(settings.home().path))


@contextmanager
def told() -> Iterator[None]:
    """Say in words what went wrong, and end the page there."""
    try:
        yield
    except TunesmithError as error:
        st.error("This cannot be shown.", icon=":material/error:")
        st.code(str(error), language=None, wrap_lines=True)
        st.stop()


@st.cache_resource(show_spinner=False)
def _opened(home: str) -> Store:
    return stores.open(home)


def reconcile() -> None:
    """Mark runs whose process is gone, at most every few seconds."""
    with told():
        _reconciled(str(settings.home().path))


@st.cache_data(ttl=15, show_spinner=False)
def _reconciled(home: str) -> list[str]:
    return stores.reconcile(_opened(home))


def facts(run_id: str, status: str, changed: str) -> RunFacts:
    """Return everything about a run; a finished one is read once, until it changes."""
    if status in UNFINISHED:
        return gather(store(), run_id)
    return _facts(str(settings.home().path), run_id, changed)


@st.cache_data(max_entries=20, show_spinner=False)
def _facts(home: str, run_id: str, changed: str) -> RunFacts:
    return gather(_opened(home), run_id)
