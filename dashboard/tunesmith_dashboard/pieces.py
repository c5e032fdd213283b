"""Small things that several pages draw the same way; none renders model text as Markdown."""

from __future__ import annotations

import re
from typing import Literal

import streamlit as st

from tunesmith.charts import Chart
from tunesmith.report.inert import Cut, cut

Colour = Literal["green", "blue", "orange", "red", "gray"]

COLOURS: dict[str, Colour] = {
    "COMPLETED": "green", "RUNNING": "blue", "WAITING": "orange", "FAILED": "red",
    "CRASHED": "red", "STOPPED": "gray", "PENDING": "gray",
}  # fmt: skip
ICONS = {
    "COMPLETED": ":material/check:", "RUNNING": ":material/progress_activity:",
    "WAITING": ":material/hourglass_empty:", "FAILED": ":material/close:",
    "CRASHED": ":material/bolt:", "STOPPED": ":material/stop:", "PENDING": ":material/more_horiz:",
}  # fmt: skip
LONGEST = 20_000
"""Characters of one answer that a page shows; more would stop the browser."""
AROUND = 100
"""Pixels that title, axis and legend of a chart need, which count as its height here."""

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~:$&@])")


def badge(status: str, *, cached: bool = False) -> None:
    """Show a run's or a stage's status."""
    said = "cached" if cached else "to come" if status == "PENDING" else status.lower()
    st.badge(said, color="gray" if cached else COLOURS.get(status, "gray"), icon=ICONS.get(status))


def plain(text: str) -> str:
    """Return a short text so that Markdown shows it letter by letter."""
    return _MARKDOWN.sub(r"\\\1", cut(text, 300).text).replace("\n", " ")


def said(text: str | Cut, *, code: bool = False) -> None:
    """Show a text that somebody or some model wrote: as it is, and doing nothing."""
    shown = cut(text, LONGEST) if isinstance(text, str) else text
    if code:
        st.code(shown.text or "(nothing)", language="python", wrap_lines=True)
    else:
        st.text(shown.text or "(nothing)")
    if shown.left_out:
        st.caption(f"Cut here: {shown.left_out:,} more characters.")


def chart(drawn: Chart) -> None:
    """Show a chart in the colours of the theme, as wide as there is room."""
    # Checking it against the schema takes longer than drawing it, on every refresh.
    spec = drawn.to_dict(validate=False)
    st.vega_lite_chart(spec=spec, width="stretch", height=int(spec["height"]) + AROUND)


def simulated() -> None:
    """Say that no person was asked."""
    st.warning(
        "**Feedback is simulated.** No person was asked: the labels come from made-up annotators.",
        icon=":material/smart_toy:",
    )


def by_model() -> None:
    """Say that a language model judged."""
    st.warning(
        "**Feedback is by a language model.** No person was asked: the labels come from a model"
        " that judged.",
        icon=":material/smart_toy:",
    )


def nothing(title: str, hint: str, command: str = "") -> None:
    """Show an empty page that says what would fill it."""
    with st.container(border=True, horizontal_alignment="center"):
        st.space("small")
        st.subheader(title, anchor=False, text_alignment="center")
        st.caption(hint, text_alignment="center")
        if command:
            st.code(command, language=None, width="content")
        st.space("small")
