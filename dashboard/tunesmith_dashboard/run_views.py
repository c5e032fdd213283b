"""The parts of the page of one run; each draws some of its facts."""

from __future__ import annotations

import pandas as pd
import streamlit as st
import yaml

from tunesmith import charts
from tunesmith.report import sentences, words
from tunesmith.report.facts import Question, RunFacts, StageFacts
from tunesmith.report.pictures import together
from tunesmith.report.render import render
from tunesmith_dashboard import evidence_views, pieces

evidence = evidence_views.evidence
feedback = evidence_views.feedback


def head(facts: RunFacts) -> None:
    """Say which run this is, how it stands, and what came of it in a few sentences."""
    name, report = st.columns([4, 1], vertical_alignment="center")
    name.title(facts.id, anchor=False)
    with report:
        st.download_button(
            "Report",
            data=lambda: render(facts),
            file_name=f"report-{facts.id}.html",
            mime="text/html",
            icon=":material/download:",
            on_click="ignore",
            width="stretch",
            help="One HTML file with everything on this page and more; it opens offline.",
        )
    with st.container(horizontal=True, vertical_alignment="center"):
        pieces.badge(facts.status)
        st.caption(words.moment(facts.created_at), width="content")
        took = "took" if facts.finished_at else "so far"
        st.caption(f"{took} {words.duration(facts.seconds)}", width="content")
        st.caption(f"seed {facts.seed}", width="content")
    if facts.simulated:
        pieces.simulated()
    if facts.by_model:
        pieces.by_model()
    _state(facts)
    for problem in facts.problems:
        st.error("Something is missing here.", icon=":material/error:")
        st.code(problem, language=None, wrap_lines=True)


def _state(facts: RunFacts) -> None:
    if facts.status == "WAITING":
        st.warning("**This run waits for people.**", icon=":material/hourglass_empty:")
        for campaign in facts.campaigns:
            done = f"{campaign.complete} of {words.count(campaign.pairs, 'pair')} complete"
            share = campaign.complete / campaign.pairs if campaign.pairs else 1.0
            st.progress(min(1.0, share), text=done)
            st.page_link(
                "app_pages/label.py",
                label=f"Label {campaign.id}",
                icon=":material/thumbs_up_down:",
                query_params={"campaign": campaign.id},
            )
    elif facts.status in ("FAILED", "CRASHED"):
        st.error(f"**This run {facts.status.lower()}.**", icon=":material/error:")
    if facts.reason and facts.status != "COMPLETED":
        st.code(facts.reason, language=None, wrap_lines=True)
        if facts.status != "RUNNING":
            st.caption(f"Go on with `tunesmith resume {facts.id}`.")


def stages(facts: RunFacts) -> None:
    """Show what came of the run, then each stage with its time and its result."""
    for sentence in sentences.headlines(facts):
        st.markdown(f"- {pieces.plain(sentence)}")
    st.space("small")
    for stage in facts.stages:
        _stage(stage)


def _stage(stage: StageFacts) -> None:
    name, status, took, made = st.columns([2, 2, 2, 5], vertical_alignment="center")
    name.markdown(f"**{stage.name}**")
    with status:
        pieces.badge(stage.status, cached=stage.cached)
    took.caption(words.duration(stage.seconds))
    with made:
        if stage.artifact:
            note = f"  made by {stage.maker}" if stage.maker else ""
            st.caption(f"`{stage.artifact}` {words.size(stage.size)}{note}")
        if stage.reason:
            st.code(stage.reason, language=None, wrap_lines=True)


def curves(facts: RunFacts) -> None:
    """Draw every curve that a stage has logged."""
    pictures = [
        (stage.name, title, lines)
        for stage in facts.stages
        for title, lines in together(stage.curves).items()
    ]
    if not pictures:
        pieces.nothing("No curves yet", "Stages that train draw here while they work.")
    columns = st.columns(2, gap="large") if pictures else []
    for place, (stage, title, lines) in enumerate(pictures):
        with columns[place % 2]:
            pieces.chart(charts.curves(lines, f"{stage}: {title}"))


def samples(facts: RunFacts) -> None:
    """Show the same prompts answered by every model."""
    if not facts.questions:
        pieces.nothing("No samples yet", "They come with the first model that the run makes.")
        return
    st.caption("Not chosen by hand: the first items of every task in the held-out data.")
    tasks = list(dict.fromkeys(question.task for question in facts.questions))
    task = st.pills(
        "Task", tasks, default=tasks[0], format_func=words.name, required=True, key="task",
        label_visibility="collapsed",
    )  # fmt: skip
    for question in facts.questions:
        if question.task == task:
            _question(question)


def _question(question: Question) -> None:
    st.divider()
    if question.style not in ("", "zero_shot"):
        st.caption(words.name(question.style))
    pieces.said(question.prompt)
    for column, answer in zip(st.columns(len(question.answers)), question.answers, strict=True):
        with column.container(border=True):
            mark = {True: " :green[right]", False: " :red[wrong]", None: ""}[answer.correct]
            st.caption(pieces.plain(words.model(answer.model)) + mark)
            pieces.said(answer.text, code=question.task == "code_generation")


def configuration(facts: RunFacts) -> None:
    """Show what the run was asked to do, and what it ran on."""
    text = yaml.safe_dump(dict(facts.config), sort_keys=False, allow_unicode=True)
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.code(text, language="yaml")
        st.download_button(
            "lifecycle.yaml", text, "lifecycle.yaml", icon=":material/download:", on_click="ignore"
        )
    with right:
        for task, ref in facts.prompts:
            st.caption(f"{words.name(task)}: asked with the saved prompt `{ref}`")
        known = {"machine": facts.host or "unknown", **facts.environment, **facts.versions}
        rows = [(str(name), str(value)) for name, value in known.items()]
        st.table(pd.DataFrame(rows, columns=["what", "version or value"]), hide_index=True)
