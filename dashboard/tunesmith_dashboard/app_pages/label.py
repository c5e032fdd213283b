"""Compare two answers, choose one; everything can be done by keyboard."""

import streamlit as st

from tunesmith.errors import TunesmithError
from tunesmith.store import campaigns, queries
from tunesmith.store.labelling import Turn
from tunesmith_dashboard import pieces, reading, turns
from tunesmith_dashboard.turns import Place

CHOICES = (
    ("left", "A is better", "1"),
    ("tie", "Tie", "3"),
    ("both_bad", "Both bad", "0"),
    ("right", "B is better", "2"),
)
TALL = 2_400
"""Answers of more characters than this scroll in boxes of one height."""


def place() -> Place | None:
    """Return who labels what; both stand in the address, so that a reload keeps them."""
    rows = queries.campaigns(reading.store(), status="OPEN")
    people = [row.id for row in rows if row.source == "human"]
    if not people:
        st.title("Label", anchor=False)
        pieces.nothing(
            "Nothing to label",
            "A run with the feedback source `human` puts its pairs here and waits for people.",
        )
        return None
    title, who, what = st.columns([2, 2, 2], vertical_alignment="bottom")
    title.title("Label", anchor=False)
    name = who.text_input(
        "Your name",
        st.query_params.get("as") or st.session_state.get("annotator", ""),
        placeholder="small letters, digits, . - _",
        max_chars=64,
        help="Your labels are kept under this name; come back with the same one.",
    )
    named = st.query_params.get("campaign")
    picked = what.selectbox("Campaign", people, people.index(named) if named in people else 0)
    st.query_params["campaign"] = picked
    if named is not None and named not in people:
        st.info("That campaign is not open for labelling; here is another.")
    if not name:
        st.caption("Say who you are, then the first pair appears.")
        return None
    if not turns.NAME.fullmatch(name):
        st.error("A name has small letters, digits, '.', '-' and '_', and begins with no sign.")
        return None
    st.query_params["as"] = st.session_state["annotator"] = name
    return Place(picked, name)


def standing(at: Place) -> campaigns.Progress:
    """Draw how far the campaign has come, and return it."""
    reached = campaigns.progress(reading.store(), at.campaign)
    wanted = reached.pairs * reached.overlap
    mine = reached.by_annotator.get(at.annotator, 0)
    left = max(0, wanted - reached.labels)
    share = min(1.0, reached.labels / wanted) if wanted else 1.0
    st.progress(share, f"{reached.labels} of {wanted} labels, {left} to go · {mine} by you")
    if reached.overdue:
        st.warning("The deadline of this campaign has passed.", icon=":material/schedule:")
    return reached


def finished(at: Place) -> None:
    """Say that there are enough labels, and what goes on from here."""
    rows = queries.campaigns(reading.store(), status="OPEN")
    row = next(row for row in rows if row.id == at.campaign)
    st.success("**There are enough labels. Thank you!**", icon=":material/celebration:")
    if row.agreement is not None:
        st.caption(f"It also asks for an agreement of {row.agreement:.2f}, which is checked then.")
    if row.run_id:
        st.caption("The run that waited for them goes on with:")
        st.code(f"tunesmith resume {row.run_id}", language=None)


def conversation(turn: Turn) -> None:
    """Draw what was asked."""
    with st.container(key="prompt"):
        for message in turn.pair.prompt:
            st.caption("Task" if message["role"] == "user" else message["role"].capitalize())
            pieces.said(message["content"])


def answers(turn: Turn) -> None:
    """Draw the two answers, both in the same way, in boxes of the same size."""
    code = turn.pair.task == "code_generation"
    tall = max(len(turn.left), len(turn.right)) > TALL
    sides = st.columns(2, gap="medium")
    for column, name, text in zip(sides, "AB", (turn.left, turn.right), strict=True):
        with column.container(border=True, height=520 if tall else "stretch"):
            st.caption(f"**Answer {name}**")
            pieces.said(text, code=code)


def buttons(at: Place, turn: Turn) -> None:
    """Draw the choices with their keys; each button belongs to this pair alone."""
    turn_id = turn.assignment_id
    with st.container(horizontal=True, horizontal_alignment="center", key="choices"):
        for choice, label, shortcut in CHOICES:
            st.button(
                label,
                key=turns.key(choice, turn),
                shortcut=shortcut,
                type="primary" if choice in ("left", "right") else "secondary",
                on_click=turns.give,
                args=(at, turn_id, choice),
            )
        st.button(
            "Skip",
            key=turns.key("skip", turn),
            shortcut="S",
            type="tertiary",
            on_click=turns.give,
            args=(at, turn_id, "skip"),
        )
        undo(at, turns.key("undo", turn))


def undo(at: Place, key: str) -> None:
    """Draw the button that takes the last label back."""
    st.button("Undo", key=key, shortcut="U", type="tertiary", on_click=turns.undo, args=(at,))


def notes(at: Place, turn: Turn) -> None:
    """Draw what may be said beside the choice; it is kept while it is typed."""
    save, to = turns.save, (at, turn.assignment_id)
    with st.expander("Comment, a better answer, or why you skip", icon=":material/edit_note:"):
        st.text_input(
            "Comment", key=turns.key("comment", turn), max_chars=2_000, on_change=save, args=to
        )
        st.text_area(
            "A better answer",
            key=turns.key("edited", turn),
            max_chars=20_000,
            help="What the answer should have been; it can become training data.",
            on_change=save,
            args=to,
        )
        st.pills(
            "When you skip", turns.REASONS, key=turns.key("reason", turn), on_change=save, args=to
        )


@st.fragment(run_every="60s")
def hold(at: Place, turn: Turn) -> None:
    """Keep the pair for whoever is still reading it."""
    turns.save(at, turn.assignment_id)


@st.fragment(run_every="10s")
def others(at: Place) -> None:
    """Wait for a pair that somebody else may give back."""
    if turns.next_turn(at) is not None:
        st.rerun()


def pair(at: Place, turn: Turn, reached: campaigns.Progress) -> None:
    """Draw one turn; who has not labelled yet sees the instructions unfolded."""
    if turn.guidelines:
        first = not reached.by_annotator.get(at.annotator)
        with st.expander("Instructions", expanded=first, icon=":material/menu_book:"):
            st.text(turn.guidelines)
    conversation(turn)
    answers(turn)
    buttons(at, turn)
    notes(at, turn)
    hold(at, turn)
    turns.drawn(turn)


def page() -> None:
    """Draw the page."""
    at = place()
    if at is None:
        return
    reached = standing(at)
    if told := turns.heard():
        st.toast(pieces.plain(told), icon=":material/info:")
    try:
        turn = turns.next_turn(at)
    except TunesmithError as error:
        st.error(pieces.plain(str(error)), icon=":material/error:")
        return
    if reached.done:
        finished(at)
    if turn is not None:
        pair(at, turn, reached)
        return
    if not reached.done:
        st.info(
            "**Nothing is left for you.** The remaining pairs are others' to label.",
            icon=":material/groups:",
        )
        others(at)
    undo(at, f"undo-none-{reached.labels}")


page()
