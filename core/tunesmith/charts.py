"""The charts that the report and the dashboard share, as Altair specifications.

Altair is imported inside the functions: the command line lists runs without it. A chart brings no
colours for text and lines of its own; ``svg`` gives it those of the report, whose style sheet turns
them round in the dark, and the dashboard those of its theme.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.evidence.measurements import Measurement


INK = "#334155"
GRID = "#e2e8f0"
MUTED = "#64748b"
PALETTE = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2")
ACCENT = PALETTE[0]
MEANING = {
    "significantly better": "#059669",
    "significantly worse": "#dc2626",
    "not significant": "#64748b",
}
WIDTH = 420
HEIGHT = 190
MOST_POINTS = 400
"""More points of one line than this are averaged: nobody sees them, and the file grows."""

FEW_POINTS = 12
"""A line of no more points than this shows each; one point alone has no line."""

Points = Sequence[tuple[float, float]]
Chart = Any
"""An Altair chart, layered or not; its classes are not typed closely enough to tell them apart."""


def curves(series: Mapping[str, Points], title: str, x: str = "step") -> Chart:
    """Return lines of (step, value) by name; a noisy one is drawn faint under its running mean."""
    import altair as alt

    rows = [row for name, points in series.items() for row in _line(name, points)]
    names = list(series)
    legend = alt.Legend(title=None, orient="top") if len(names) > 1 else None
    colour = alt.Scale(domain=names, range=list(PALETTE))
    base = alt.Chart(_data(rows)).encode(
        x=alt.X("x:Q", title=x, axis=alt.Axis(grid=False, tickCount=6, tickMinStep=1)),
        color=alt.Color("series:N", legend=legend, scale=colour),
    )
    axis = alt.Axis(tickCount=5)
    y = alt.Y("value:Q", title=None, scale=alt.Scale(zero=False), axis=axis)
    mean = alt.Y("mean:Q", title=None, scale=alt.Scale(zero=False), axis=axis)
    faint = base.mark_line(strokeWidth=1, opacity=0.3).encode(y=y)
    tips = [alt.Tooltip("x:Q", title=x), "series:N", alt.Tooltip("value:Q", format=".4g")]
    few = max(map(len, series.values()), default=0) <= FEW_POINTS
    clear = base.mark_line(strokeWidth=2, point=few).encode(y=mean, tooltip=tips)
    return _sized(alt.layer(faint, clear), title)


def _line(name: str, points: Points) -> list[dict[str, Any]]:
    """Return rows with a running mean over a twenty-fifth of the line."""
    seen = thinned([(x, y) for x, y in points if math.isfinite(y)])
    reach = max(1, len(seen) // 50)
    rows = []
    for at, (x, y) in enumerate(seen):
        near = [v for _, v in seen[max(0, at - reach) : at + reach + 1]]
        mean = math.fsum(near) / len(near) if len(seen) > 40 else y
        rows.append({"x": x, "value": y, "mean": mean, "series": name})
    return rows


def thinned(points: Points, most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """Return at most ``most`` points, each the mean of its neighbours; the steps stay in order."""
    size = math.ceil(len(points) / most)
    if size <= 1:
        return list(points)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], math.fsum(value for _, value in group) / len(group)) for group in groups]


def intervals(
    measurements: Sequence[Measurement],
    title: str,
    unit: str = "",
    labels: Mapping[str, str] | None = None,
) -> Chart:
    """Return dots with their 95 % intervals: a row per name, a colour per model.

    Models keep the order in which they are given; ``labels`` replaces names.
    """
    import altair as alt

    rows = [_row(m, labels) for m in measurements if m.finite]
    models = list(dict.fromkeys(str(row["model"]) for row in rows))
    legend = alt.Legend(title=None, orient="top", columnPadding=28, labelLimit=300)
    colour = alt.Color(
        "model:N",
        sort=models,
        scale=alt.Scale(domain=models, range=list(PALETTE)),
        legend=legend if len(models) > 1 else None,
    )
    base = _by_name(rows).encode(color=colour, yOffset=alt.YOffset("model:N", sort=models))
    names = len({row["name"] for row in rows})
    height = max(60, names * (18 + 12 * len(models)))
    return _sized(_dots(base, unit), title, width=560, height=height)


def differences(
    measurements: Sequence[Measurement],
    title: str,
    unit: str = "",
    labels: Mapping[str, str] | None = None,
) -> Chart:
    """Return one comparison of two models: coloured where it shows something, grey where not."""
    import altair as alt

    rows = [_row(m, labels) | {"words": m.significance()} for m in measurements if m.finite]
    scale = alt.Scale(domain=list(MEANING), range=list(MEANING.values()))
    base = _by_name(rows).encode(color=alt.Color("words:N", scale=scale, legend=None))
    layers = alt.layer(_rule_at(0), _dots(base, unit))
    return _sized(layers, title, width=320, height=max(60, 30 * len(rows)))


def _row(m: Measurement, labels: Mapping[str, str] | None) -> dict[str, Any]:
    name = (labels or {}).get(m.name, m.name)
    return {"name": name, "model": m.model, "value": m.value, "low": m.low, "high": m.high}


def _by_name(rows: list[dict[str, Any]]) -> Chart:
    import altair as alt

    names = list(dict.fromkeys(str(row["name"]) for row in rows))
    # Measured by another font than the reader's: leave room for a wide one.
    room = 7 * max(map(len, names), default=0)
    axis = alt.Axis(labelLimit=280, ticks=False, domain=False, minExtent=min(room, 260))
    return alt.Chart(_data(rows)).encode(
        y=alt.Y("name:N", title=None, sort=names, axis=axis),
        tooltip=["name:N", "model:N", *(_number(one) for one in ("value", "low", "high"))],
    )


def _dots(base: Chart, unit: str) -> Chart:
    import altair as alt

    axis = alt.Axis(tickCount=6)
    scale = alt.Scale(zero=False, nice=True)
    low = alt.X("low:Q", title=unit or None, scale=scale, axis=axis)
    lines = base.mark_rule(strokeWidth=3, opacity=0.4).encode(x=low, x2="high:Q")
    return alt.layer(lines, base.mark_point(filled=True, size=55, opacity=1).encode(x="value:Q"))


def _number(name: str) -> Chart:
    import altair as alt

    return alt.Tooltip(f"{name}:Q", format=".3f")


def _rule_at(x: float) -> Chart:
    import altair as alt

    line = alt.Chart(_data([{"x": x}])).mark_rule(strokeDash=[4, 3], color=MUTED)
    return line.encode(x=alt.X("x:Q"))


def reliability(bins: Sequence[tuple[float, float, int]], title: str) -> Chart:
    """Return predicted chance against observed share; the diagonal is perfect calibration."""
    import altair as alt

    rows = [{"predicted": p, "observed": o, "pairs": n} for p, o, n in bins]
    low = 0.5 if all(p >= 0.5 for p, _, _ in bins) else 0.0
    unit = alt.Scale(domain=[low, 1], clamp=True)
    ends = _data([{"x": low, "y": low}, {"x": 1, "y": 1}])
    diagonal = alt.Chart(ends).mark_line(strokeDash=[4, 3], color=MUTED, strokeWidth=1.5)
    dots = (
        alt.Chart(_data(rows))
        .mark_point(filled=True, color=ACCENT, opacity=0.85)
        .encode(
            x=alt.X("predicted:Q", scale=unit, title="predicted chance"),
            y=alt.Y("observed:Q", scale=unit, title="share of labels"),
            size=alt.Size("pairs:Q", legend=None, scale=alt.Scale(range=[40, 320])),
            tooltip=[_number("predicted"), _number("observed"), "pairs:Q"],
        )
    )
    line = diagonal.encode(x=alt.X("x:Q", scale=unit), y=alt.Y("y:Q", scale=unit))
    return _sized(alt.layer(line, dots), title, width=260, height=240)


CHOSEN, ALLOWED, REFUSED = "#059669", "#2563eb", "#dc2626"


def front(points: Sequence[Mapping[str, Any]], cost: str) -> Chart:
    """Return what is lost against what it costs: dots with intervals, the Pareto front as a line.

    A point has ``name``, the short ``mark`` beside its dot, ``cost``, ``value``, ``low`` and
    ``high`` in points, ``what`` it is (chosen, within the budget, loses too much), and whether it
    is on the ``front``.
    """
    import altair as alt

    what = alt.Scale(
        domain=["chosen", "within the budget", "loses too much"],
        range=[CHOSEN, ALLOWED, REFUSED],
    )
    axis = alt.Axis(tickCount=6, grid=False)
    x = alt.X("cost:Q", title=cost, scale=alt.Scale(zero=False, padding=24), axis=axis)
    y = alt.Y("value:Q", title="points, against its parent", axis=alt.Axis(tickCount=5))
    colour = alt.Color(
        "what:N", scale=what, legend=alt.Legend(title=None, orient="top", columnPadding=28)
    )
    base = alt.Chart(_data([dict(one) for one in points])).encode(x=x, color=colour)
    tips = ["name:N", alt.Tooltip("cost:Q", format=".4g"), alt.Tooltip("value:Q", format="+.1f")]
    best = alt.Chart(_data([dict(one) for one in points if one["front"]]))
    line = best.mark_line(color=MUTED, strokeDash=[4, 3], strokeWidth=1.5).encode(x=x, y=y)
    spread = base.mark_rule(strokeWidth=1.5, opacity=0.5).encode(y="low:Q", y2="high:Q")
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(y=y, tooltip=tips)
    names = base.mark_text(dy=-13, fontSize=12, fontWeight="bold").encode(y=y, text="mark:N")
    return _sized(alt.layer(_rule_at_zero(), line, spread, dots, names), "", height=220)


def _rule_at_zero() -> Chart:
    import altair as alt

    rule = alt.Chart(_data([{"zero": 0}])).mark_rule(color=MUTED, strokeDash=[2, 2])
    return rule.encode(y="zero:Q")


def histogram(counts: Mapping[int, int], title: str, x: str) -> Chart:
    """Return bars of counts by power of two: ``{32: 5}`` is five rows of 32 to 63."""
    import altair as alt

    names = {low: f"{low}–{2 * low - 1}" if low > 1 else str(low) for low in sorted(counts)}
    rows = [{"length": names[low], "rows": counts[low]} for low in names]
    chart = (
        alt.Chart(_data(rows))
        .mark_bar(color=ACCENT, opacity=0.85, cornerRadiusEnd=2)
        .encode(
            x=alt.X("length:N", title=x, sort=list(names.values()), axis=alt.Axis(labelAngle=0)),
            y=alt.Y("rows:Q", title="rows"),
            tooltip=["length:N", "rows:Q"],
        )
    )
    return _sized(chart, title, height=130)


def _data(rows: list[dict[str, Any]]) -> Any:
    import altair as alt

    return alt.Data(values=rows)  # type: ignore[no-untyped-call]


def _sized(chart: Any, title: str, width: int = WIDTH, height: int = HEIGHT) -> Any:
    sized = chart.properties(width=width, height=height)
    return sized.properties(title=title) if title else sized


LOOK: dict[str, Any] = {
    "background": None,
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {
        "gridColor": GRID, "domainColor": GRID, "tickColor": GRID, "labelColor": MUTED,
        "titleColor": MUTED, "titleFontWeight": "normal", "labelFontSize": 11,
    },
    "legend": {"labelColor": INK, "labelFontSize": 11, "symbolStrokeWidth": 3},
    "title": {"anchor": "start", "fontSize": 13, "color": INK, "offset": 10},
}  # fmt: skip


def svg(chart: Chart) -> str:
    """Return the chart as an SVG element without background; no browser and no network."""
    import vl_convert

    text = str(vl_convert.vegalite_to_svg(chart.to_dict(validate=False) | {"config": LOOK}))
    # Inside HTML the name spaces are known, and a report that names no address loads none.
    return re.sub(r' xmlns(:xlink)?="[^"]*"', "", text, count=2)


def stacked(drawn: Sequence[Chart]) -> Chart:
    """Return charts one below the other, each with colours of its own."""
    import altair as alt

    return alt.vconcat(*drawn).resolve_scale(color="independent")


def svg_file(chart: Chart) -> str:
    """Return the chart as an SVG file on white paper."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(_on_paper(chart)))


def png(chart: Chart) -> bytes:
    """Return the chart as a PNG file on white paper, at twice the size for sharp text."""
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(_on_paper(chart), scale=2))


def _on_paper(chart: Chart) -> dict[str, Any]:
    paper = {**LOOK, "background": "white", "padding": 16}
    return {**chart.to_dict(validate=False), "config": paper}
