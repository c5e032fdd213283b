"""Released models: their versions, where aliases point, and on what evidence."""

import pandas as pd
import streamlit as st

from tunesmith.errors import ArtifactError
from tunesmith.report import words
from tunesmith.report.files import read_json
from tunesmith.store import queries
from tunesmith.store.registry import Version
from tunesmith_dashboard import pieces, reading


def version(one: Version) -> None:
    """Draw one version."""
    with st.container(border=True):
        number, aliases, links, made = st.columns([2, 3, 3, 3], vertical_alignment="center")
        number.markdown(f"**version {one.version}**")
        with aliases.container(horizontal=True):
            for alias in one.aliases:
                st.badge(alias, icon=":material/label:", color="violet")
        if one.run_id:
            with links:
                st.page_link("app_pages/run.py", label=one.run_id, query_params={"run": one.run_id})
        made.caption(words.moment(one.created_at))
        gates(one)
        evidence = f", on the evidence of `{one.evidence_id}`" if one.evidence_id else ""
        st.caption(f"`{one.artifact_id}`, released by {pieces.plain(one.author)}{evidence}")
        if one.notes:
            st.text(one.notes)


def gates(one: Version) -> None:
    """Say how many gates the evidence passed."""
    if one.evidence_id is None:
        return
    try:
        verdicts = read_json(reading.store(), one.evidence_id, "verdicts.json")
    except ArtifactError as error:
        st.caption(pieces.plain(str(error)))
        return
    passed = sum(verdict["passed"] for verdict in verdicts)
    icon = ":green[:material/verified:]" if passed == len(verdicts) else ":orange[:material/rule:]"
    st.caption(f"{icon} {passed} of {words.count(len(verdicts), 'gate')} passed")


def history(model: str) -> None:
    """Draw every move of the model's aliases, newest first."""
    rows = [
        {
            "alias": event.alias,
            "from": str(event.from_version or words.DASH),
            "to": str(event.to_version or words.DASH),
            "by": event.actor,
            "reason": event.reason,
            "when": words.moment(event.created_at),
        }
        for event in queries.alias_history(reading.store(), model)
    ]
    if rows:
        with st.expander(f"How the aliases moved ({len(rows)})"):
            st.dataframe(pd.DataFrame(rows), hide_index=True)


st.title("Models", anchor=False)
models = queries.models(reading.store())
if not models:
    pieces.nothing(
        "Nothing released yet",
        "A run whose model passes its gates registers it here, with its evidence.",
    )
for model in models:
    st.subheader(model, anchor=False)
    for one in queries.versions(reading.store(), model):
        version(one)
    history(model)
