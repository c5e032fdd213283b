"""Ask models side by side: several models, styles and samplers, streaming, with probabilities."""

import time
from typing import Any

import streamlit as st

from tunesmith.errors import TunesmithError
from tunesmith.report import words
from tunesmith.store import queries, saved_prompts
from tunesmith_dashboard import asking, pieces, playground_views, reading
from tunesmith_dashboard.asking import Round, Said, Served, Way, history

AGAIN = 0.1
"""Seconds between two drawings of answers that are being written."""


def server() -> Served | None:
    """Return the server that is asked; where there is none, say how to start one."""
    title, where = st.columns([3, 2], vertical_alignment="bottom")
    title.title("Playground", anchor=False)
    at = where.text_input("Server", asking.address(), help="Where `tunesmith serve` answers.")
    offer = asking.served(at.strip().rstrip("/"))
    if isinstance(offer, str):
        pieces.nothing("No server answers yet", offer, "tunesmith serve nano")
        st.button("Look again", icon=":material/refresh:")
        return None
    return offer


def prompt() -> dict[str, Any]:
    """Draw what all columns have in common, and return it."""
    with st.expander("System text, template, examples, limits", icon=":material/tune:"):
        left, right = st.columns(2)
        system = left.text_area("System text", key="pg-system", height=96)
        template = right.text_input("Template of the user turn", "{question}", key="pg-template")
        task = right.text_input(
            "Task", key="pg-task", placeholder="none",
            help="What a style is told of, e.g. maths_reasoning; self_consistency needs one.",
        )  # fmt: skip
        st.caption("Examples, for styles that show some")
        rows = st.data_editor(
            [{"question": "", "answer": ""}], num_rows="dynamic", key="pg-shots", width="stretch"
        )
        most, seed = st.columns(2)
        limits: dict[str, Any] = {
            "max_tokens": int(most.number_input("Longest answer, tokens", 1, 8192, 128)),
            "seed": int(seed.number_input("Seed", 0, 2**31, 0)),
        }
    shots = [row for row in rows if row.get("question") and row.get("answer")]
    limits |= {"task": task.strip()} if task.strip() else {}
    return {"system": system, "template": template, "shots": shots, "limits": limits}


def columns(offer: Served, common: dict[str, Any]) -> list[Way]:
    """Draw the choice of columns, and return them."""
    ids = [one["id"] for one in offer.models]
    saved = [
        f"{{name: saved, prompt: {row.name}@{at}}}"
        for row in queries.prompts(reading.store())
        for at in [*(one.alias for one in row.aliases if one.version), row.versions]
    ]
    names = {key: [one["name"] for one in offer.techniques[key]] for key in offer.techniques}
    styles = [*(name for name in names["styles"] if name != "saved"), *saved]
    hint = "Type {name: ..., options} to add one with options."
    first, second, third = st.columns(3)
    models = first.multiselect("Models", ids, ids[:2], key="pg-models")
    chosen = second.multiselect(
        "Styles", styles, ["zero_shot"], key="pg-styles", accept_new_options=True, help=hint
    )
    drawn = third.multiselect(
        "Samplers", names["samplers"], ["greedy"], key="pg-samplers",
        accept_new_options=True, help=hint,
    )  # fmt: skip
    found = playground_views.ways(offer, models, chosen, drawn, common)
    if bare := playground_views.wants_examples(offer, chosen, common):
        st.caption(
            f"{pieces.plain(', '.join(bare))}: give examples below, or there is none to show."
        )
    if len(found) > playground_views.MOST:
        st.warning(f"{len(found)} columns do not fit; the first {playground_views.MOST} are asked.")
    return found[: playground_views.MOST]


def shown(one: Round) -> list[Any]:
    """Draw a round, and return the places of its answers."""
    with st.chat_message("user"):
        st.text(one.question)
    places = []
    for column, way in zip(st.columns(len(one.ways)), one.ways, strict=True):
        with column.container(border=True):
            st.caption(pieces.plain(way.title))
            place, below = st.empty(), st.container()
            said = one.said[way.key]
            place.html(playground_views.answer(said))
            if said.done:
                with below:
                    playground_views.foot(said)
            places.append((place, below, said))
    return places


def ask(offer: Served, question: str, ways: list[Way], limits: dict[str, Any]) -> None:
    """Ask all columns at once, and draw the answers while they are written."""
    rounds: list[Round] = st.session_state.setdefault("pg-rounds", [])
    turn = {"role": "user", "content": question}
    bodies = [asking.body(way, [*history(rounds, way), turn], limits) for way in ways]
    # Kept before anything is asked: what was said stays, even if the page is drawn again half-way.
    one = Round(question, ways, {way.key: Said() for way in ways})
    rounds.append(one)
    places = shown(one)
    with asking.together(offer.address, bodies, [one.said[way.key] for way in ways]):
        while not all(said.done for *_, said in places):
            for place, _, said in places:
                place.html(playground_views.answer(said, writing=not said.done))
            time.sleep(AGAIN)
    for place, below, said in places:
        place.html(playground_views.answer(said))
        with below:
            playground_views.foot(said)


def keep(ways: list[Way], task: str | None) -> None:
    """Draw the config to copy, and the form that saves a column as a prompt."""
    with st.expander("Config to copy", icon=":material/content_copy:"):
        for way in ways:
            st.caption(pieces.plain(way.title))
            st.code(playground_views.snippet(way, task), language="yaml")
    with st.expander("Save as a prompt version", icon=":material/bookmark_add:"):
        titles = [way.title for way in ways]
        with st.form("pg-save", border=False):
            picked = st.selectbox("Column", titles)
            name, alias, author = st.columns(3)
            called = name.text_input("Name", placeholder="small letters, digits, . - _")
            pointed = alias.text_input("Alias", placeholder="none, or e.g. production")
            who = author.text_input("Your name", st.session_state.get("annotator", ""))
            notes = st.text_input("What is new in it")
            wanted = st.form_submit_button("Save", icon=":material/save:")
        if wanted:
            save(ways[titles.index(picked)], called, pointed, who, notes)


def save(way: Way, name: str, alias: str, author: str, notes: str) -> None:
    """Save a column's prompt, and say which version it is."""
    if not author:
        st.error("Say who you are: every version keeps its author.")
        return
    try:
        store = reading.store()
        content = playground_views.content(way, lambda: store)
        found = saved_prompts.save(store, name, content, author=author, notes=notes)
        if alias:
            saved_prompts.set_alias(store, name, alias, found.version, actor=author, reason=notes)
    except TunesmithError as error:
        st.error(pieces.plain(str(error)), icon=":material/error:")
        return
    st.success(f"Saved as **{found.ref}** ({words.moment(found.created_at)}).")
    st.code(f"style: {{name: saved, prompt: {name}@{alias or found.version}}}", language="yaml")


def page() -> None:
    """Draw the page."""
    offer = server()
    if offer is None:
        return
    choice = st.container()
    common = prompt()
    try:
        with choice:
            ways = columns(offer, common)
    except TunesmithError as error:
        st.error(pieces.plain(str(error)), icon=":material/error:")
        return
    rounds: list[Round] = st.session_state.setdefault("pg-rounds", [])
    question = st.chat_input("Ask all columns", disabled=not ways)
    talk, below = st.container(), st.container()
    with below:  # drawn first, so that it stands still while answers are written
        if ways:
            keep(ways, common["limits"].get("task"))
        else:
            st.caption("Choose a model, a style and a sampler; every combination is a column.")
    with talk:
        conversation(offer, rounds, question, ways, common["limits"])


def conversation(
    offer: Served,
    rounds: list[Round],
    question: str | None,
    ways: list[Way],
    limits: dict[str, Any],
) -> None:
    """Draw what was said, ask what is to be asked, and offer to forget all of it."""
    for one in rounds:
        shown(one)
    if question:
        ask(offer, question, ways, limits)
    if not rounds:
        return
    st.caption(
        "Point at a word to see how probable it was, and what else could have stood there;"
        " the stronger its colour, the less the model expected it."
    )
    if st.button("Start over", icon=":material/restart_alt:", type="tertiary"):
        rounds.clear()
        st.rerun()


page()
