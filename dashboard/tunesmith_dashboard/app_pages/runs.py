"""The history of runs."""

import streamlit as st

from tunesmith.report import words
from tunesmith.store import queries
from tunesmith.store.queries import RunRow
from tunesmith_dashboard import pieces, reading

MOST = 500
PER_PAGE = 20
STATUSES = ("RUNNING", "WAITING", "COMPLETED", "FAILED", "STOPPED", "CRASHED")


def chosen(runs: list[RunRow]) -> list[RunRow]:
    """Return the runs that pass the filters above the table."""
    text, states = st.columns([1, 2], vertical_alignment="bottom")
    name = text.text_input(
        "Name", placeholder="Filter by name", label_visibility="collapsed", key="name"
    )
    wanted = states.pills(
        "Status",
        [status for status in STATUSES if any(run.status == status for run in runs)],
        selection_mode="multi",
        format_func=str.lower,
        label_visibility="collapsed",
        key="status",
    )
    return [run for run in runs if name in run.id and (not wanted or run.status in wanted)]


def line(run: RunRow) -> None:
    """Draw one run."""
    with st.container(border=True):
        link, status, began, took = st.columns([3, 2, 3, 2], vertical_alignment="center")
        with link:
            st.page_link("app_pages/run.py", label=f"**{run.id}**", query_params={"run": run.id})
        with status:
            pieces.badge(run.status)
        began.caption(words.moment(run.created_at))
        took.caption(words.duration(run.seconds))
        if run.reason and run.status != "COMPLETED":
            st.caption(pieces.plain(run.reason))


@st.fragment(run_every="5s")
def history() -> None:
    """Draw the runs, newest first; what is at work changes by itself."""
    reading.reconcile()
    runs = queries.runs(reading.store(), limit=MOST)
    if not runs:
        pieces.nothing(
            "No runs yet",
            "A run takes a model from data to release. This one needs nothing but this machine:",
            "tunesmith run examples/nano/lifecycle.yaml",
        )
        return
    found = chosen(runs)
    pages = max(1, -(-len(found) // PER_PAGE))
    page = st.pagination(pages, key="page") if pages > 1 else 1
    for run in found[(page - 1) * PER_PAGE : page * PER_PAGE]:
        line(run)
    if not found:
        st.caption("No run matches.")


st.title("Runs", anchor=False)
history()
