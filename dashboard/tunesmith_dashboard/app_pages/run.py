"""One run: its stages, curves, samples, evidence and configuration."""

import streamlit as st

from tunesmith.store import queries
from tunesmith_dashboard import pieces, reading, run_views


def chosen() -> str | None:
    """Return the run that the address names, else the newest."""
    known = [run.id for run in queries.runs(reading.store(), limit=500)]
    named = st.query_params.get("run")
    if named is not None and named not in known:
        st.error("There is no such run.", icon=":material/error:")
        st.code(named, language=None)
    if not known:
        return None
    at = known.index(named) if named in known else 0
    back, other = st.columns([3, 2], vertical_alignment="center")
    back.page_link("app_pages/runs.py", label="All runs", icon=":material/arrow_back:")
    picked = other.selectbox("Run", known, index=at, label_visibility="collapsed")
    st.query_params["run"] = picked
    return picked


def show(run_id: str) -> None:
    """Draw the run; one that is not finished is drawn again every few seconds."""
    run = queries.run(reading.store(), run_id)
    facts = reading.facts(run_id, run.status, run.updated_at.isoformat())
    run_views.head(facts)
    views = {
        "Stages": run_views.stages,
        "Curves": run_views.curves,
        "Samples": run_views.samples,
        "Feedback": run_views.feedback,
        "Evidence": run_views.evidence,
        "Configuration": run_views.configuration,
    }
    tabs = st.tabs(list(views), key="view", bind="query-params")
    for tab, view in zip(tabs, views.values(), strict=True):
        if tab.open:
            with tab:
                view(facts)


def fresh(run_id: str) -> None:
    """Draw again what has changed; when the run ends, the page as a whole."""
    show(run_id)
    if queries.run(reading.store(), run_id).status not in reading.UNFINISHED:
        st.rerun()


reading.reconcile()
run_id = chosen()
if run_id is None:
    pieces.nothing("No runs yet", "Start one, and it is here:", "tunesmith run lifecycle.yaml")
else:
    status = queries.run(reading.store(), run_id).status
    if status in reading.UNFINISHED:
        st.fragment(fresh, run_every="3s" if status == "RUNNING" else "20s")(run_id)
    else:
        show(run_id)
