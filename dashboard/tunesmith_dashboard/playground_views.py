"""The parts of the playground: columns to choose, answers to look at, a config to copy."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st
import yaml

from tunesmith import yamltext
from tunesmith.config import named
from tunesmith.errors import TunesmithError
from tunesmith.report.inert import visible
from tunesmith.saved_prompts import STYLE, content_of, settled_style
from tunesmith.store import Store
from tunesmith_dashboard import pieces
from tunesmith_dashboard.asking import Piece, Said, Served, Way

MOST = 6
"""Columns that fit beside each other."""
SHADES = (0.9, 0.6, 0.3, 0.1)
"""Probabilities below which a token is marked a little more."""


def spec(text: str) -> dict[str, Any]:
    """Return a technique as somebody typed it: a name, or ``{name: ..., options}``."""
    found = named(yamltext.scalar(text, "the playground"))
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        raise TunesmithError(f"Write a name, or {{name: ..., options}}; got {text!r}.")
    return found


def short(technique: Mapping[str, Any]) -> str:
    """Return a technique as one line that can be typed again."""
    if set(technique) == {"name"}:
        return str(technique["name"])
    text = yaml.safe_dump(dict(technique), default_flow_style=True, sort_keys=False, width=10_000)
    return str(text).strip()


def ways(
    offer: Served,
    models: Sequence[str],
    styles: Sequence[str],
    samplers: Sequence[str],
    prompt: Mapping[str, Any],
) -> list[Way]:
    """Return a column for every combination; ``prompt`` is what all of them have in common."""
    known = {one["name"]: one for one in offer.techniques["styles"]}
    found = []
    for model, style, sampler in itertools.product(models, styles, samplers):
        put, drawn = _styled(spec(style), prompt, known), spec(sampler)
        found.append(Way(model, put, drawn, f"{model} · {style} · {sampler}"))
    return found


def _styled(
    style: dict[str, Any], prompt: Mapping[str, Any], known: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a style with the page's system text, template and examples around it."""
    if style["name"] == STYLE and style.get("prompt"):
        return style
    shots = list(prompt["shots"]) if _shows(style, known) else []
    if shots and style["name"] in known and "shots" in known[style["name"]]["options"]:
        style = {"shots": len(shots), **style}
        style = {"name": style.pop("name"), **style}
    around = {"system": prompt["system"], "template": prompt["template"], "shots": shots}
    around = {key: value for key, value in around.items() if value}
    if around.get("template") == "{question}":
        del around["template"]
    return {"name": STYLE, **around, "style": style} if around else style


def _shows(style: Any, known: Mapping[str, Any]) -> bool:
    """Say whether a style, or the one inside it, shows examples."""
    inner = named(style)
    # A saved prompt brings its examples along.
    if not isinstance(inner, dict) or inner.get("name") not in known or inner["name"] == STYLE:
        return False
    options = known[inner["name"]]["options"]
    return "shots" in options or ("style" in options and _shows(inner.get("style"), known))


def wants_examples(offer: Served, styles: Sequence[str], prompt: Mapping[str, Any]) -> list[str]:
    """Return the styles that show examples and were given none."""
    known = {one["name"]: one for one in offer.techniques["styles"]}
    return [style for style in styles if not prompt["shots"] and _shows(spec(style), known)]


def answer(said: Said, *, writing: bool = False) -> str:
    """Return an answer as inert HTML: every token with its probability to hover over."""
    spans = "".join(_span(piece) for piece in said.pieces)
    cursor = '<span class="tune-cursor">▍</span>' if writing else ""
    return f'<div class="tune-answer">{spans}{cursor}</div>'


def _span(piece: Piece) -> str:
    text = html.escape(visible(piece.text))
    if not piece.tokens:
        return f"<span>{text}</span>"
    total = sum(max(logprob, -50.0) for _, logprob, _ in piece.tokens)
    shade = sum(math.exp(total) < limit for limit in SHADES)
    title = html.escape("\n\n".join(_told(*one) for one in piece.tokens), quote=True)
    return f'<span class="tune-token tune-shade{shade}" title="{title}">{text}</span>'


def _told(token: str, logprob: float, top: Sequence[tuple[str, float]]) -> str:
    lines = [f"{_name(token)}  {_percent(logprob)}"]
    lines += [f"   {_name(other)}  {_percent(value)}" for other, value in top if other != token]
    return "\n".join(lines)


def _name(token: str) -> str:
    return visible(token).replace(" ", "␣").replace("\n", "⏎") or "(nothing)"


def _percent(logprob: float) -> str:
    share = 100 * math.exp(max(logprob, -50.0))
    return f"{share:.1f} %" if share >= 0.1 else "under 0.1 %"


def foot(said: Said) -> None:
    """Say below an answer how it came about, or what went wrong."""
    if said.error:
        st.error("It cannot be asked this way.", icon=":material/error:")
        st.code(said.error, language=None, wrap_lines=True)
        return
    tokens = sum(len(piece.tokens) for piece in said.pieces)
    parts = [f"{tokens} tokens"] if tokens else []
    if said.told.get("calls", 1) > 1:
        parts.append(f"{said.told['calls']} calls, so no token probabilities")
    elif said.without_probabilities:
        parts.append("this sampler gives no token probabilities")
    parts += {"length": ["cut at the limit"], None: ["stopped"]}.get(said.finish, [])
    if drawn := said.told.get("sampler"):
        parts.append(f"drawn by {pieces.plain(short(drawn))}")
    st.caption(" · ".join(parts))


def snippet(way: Way, task: str | None) -> str:
    """Return a column as the part of a lifecycle that asks in the same way."""
    exam = {"name": task or "summarisation", "style": dict(way.style)}
    config = {"evaluate": {"sampler": dict(way.sampler), "tasks": [exam]}}
    text = str(yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=88))
    return text if task else f"# name your own task\n{text}"


def content(way: Way, store: Callable[[], Store]) -> dict[str, Any]:
    """Return a column as a prompt that can be saved; TunesmithError for one that makes no sense.

    A column that asks with a saved prompt is what that version says; its own sampler, where it has
    one, is what drew.
    """
    style = settled_style(dict(way.style), store)
    options = style if style["name"] == STYLE else {"style": style}
    kept = {key: value for key, value in options.items() if key not in ("name", "prompt")}
    return content_of({**kept, "sampler": kept.get("sampler") or dict(way.sampler)})
