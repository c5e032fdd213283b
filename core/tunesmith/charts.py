"""The charts that the report and the dashboard share, as Altair specifications.

Altair is imported inside the functions: the command line lists runs without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

    from tunesmith.evidence.measurements import Measurement

INK = "#334155"
ACCENT = "#2563eb"
PALETTE = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2")
WIDTH = 420
HEIGHT = 200

Points = Sequence[tuple[float, float]]


def curves(series: Mapping[str, Points], title: str, x: str = "step") -> alt.Chart:
    """Return a line chart of named series; each is a list of (step, value)."""
    import altair as alt

    rows = [{"x": a, "y": b, "series": n} for n, line in series.items() for a, b in line]
    chart = alt.Chart(alt.Data(values=rows)).mark_line(strokeWidth=2, clip=True)
    legend = alt.Legend(title=None, orient="top") if len(series) > 1 else None
    encoded = chart.encode(
        x=alt.X("x:Q", title=x),
        y=alt.Y("y:Q", title=None, scale=alt.Scale(zero=False)),
        color=alt.Color("series:N", legend=legend, scale=alt.Scale(range=list(PALETTE))),
        tooltip=["series:N", "x:Q", "y:Q"],
    )
    return _sized(encoded, title)


def intervals(measurements: Sequence[Measurement], title: str, zero: bool = False) -> alt.Chart:
    """Return dots with their 95 % intervals, one row per task, one colour per model."""
    import altair as alt

    rows = [
        {"task": m.name, "model": m.model, "value": m.value, "low": m.low, "high": m.high}
        for m in measurements
        if m.finite
    ]
    models = list(dict.fromkeys(r["model"] for r in rows))
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("task:N", title=None, axis=alt.Axis(labelLimit=260)),
        yOffset=alt.YOffset("model:N", sort=models),
        color=alt.Color(
            "model:N",
            sort=models,
            scale=alt.Scale(range=list(PALETTE)),
            legend=alt.Legend(title=None, orient="top"),
        ),
        tooltip=["task:N", "model:N", "value:Q", "low:Q", "high:Q"],
    )
    scale = alt.Scale(zero=zero)
    bars = base.mark_rule(strokeWidth=3, opacity=0.45).encode(
        x=alt.X("low:Q", title=None, scale=scale), x2="high:Q"
    )
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(x=alt.X("value:Q"))
    tasks = len({r["task"] for r in rows})
    height = max(60, tasks * (18 + 12 * len(models)))
    chart = alt.layer(bars, dots) if zero is False else alt.layer(bars, dots, _rule_at(0))
    return _sized(chart, title, height=height)


def _rule_at(x: float) -> alt.Chart:
    import altair as alt

    data = alt.Data(values=[{"x": x}])
    return alt.Chart(data).mark_rule(strokeDash=[4, 3], color=INK).encode(x="x:Q")


def reliability(bins: Sequence[tuple[float, float, int]], title: str) -> alt.Chart:
    """Return predicted against observed frequency; the diagonal is perfect calibration."""
    import altair as alt

    rows = [{"predicted": p, "observed": o, "pairs": n} for p, o, n in bins]
    unit = alt.Scale(domain=[0, 1])
    dots = (
        alt.Chart(alt.Data(values=rows))
        .mark_point(filled=True, color=ACCENT, opacity=0.9)
        .encode(
            x=alt.X("predicted:Q", scale=unit, title="predicted chance"),
            y=alt.Y("observed:Q", scale=unit, title="observed share"),
            size=alt.Size("pairs:Q", legend=None, scale=alt.Scale(range=[30, 300])),
            tooltip=["predicted:Q", "observed:Q", "pairs:Q"],
        )
    )
    ends = alt.Data(values=[{"x": 0, "y": 0}, {"x": 1, "y": 1}])
    diagonal = alt.Chart(ends).mark_line(strokeDash=[4, 3], color=INK).encode(x="x:Q", y="y:Q")
    return _sized(alt.layer(diagonal, dots), title, width=260, height=260)


def histogram(counts: Sequence[tuple[float, float, int]], title: str, x: str) -> alt.Chart:
    """Return bars from (low, high, count)."""
    import altair as alt

    rows = [{"low": a, "high": b, "count": n} for a, b, n in counts]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(color=ACCENT, opacity=0.8)
        .encode(
            x=alt.X("low:Q", title=x, bin="binned"),
            x2="high:Q",
            y=alt.Y("count:Q", title="rows"),
            tooltip=["low:Q", "high:Q", "count:Q"],
        )
    )
    return _sized(chart, title, height=140)


def bars(values: Mapping[str, float], title: str, x: str) -> alt.Chart:
    """Return one horizontal bar per name, in the order given."""
    import altair as alt

    rows = [{"name": name, "value": value} for name, value in values.items()]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(color=ACCENT, opacity=0.85)
        .encode(
            x=alt.X("value:Q", title=x),
            y=alt.Y("name:N", sort=list(values), title=None),
            tooltip=["name:N", "value:Q"],
        )
    )
    return _sized(chart, title, height=max(40, 26 * len(rows)))


def graph(nodes: Mapping[str, int], edges: Sequence[tuple[str, str]], title: str) -> alt.Chart:
    """Return a left-to-right graph; ``nodes`` maps a label to its column."""
    import altair as alt

    places = _places(nodes)
    lines = [
        {"x": places[a][0], "y": places[a][1], "x2": places[b][0], "y2": places[b][1]}
        for a, b in edges
        if a in places and b in places
    ]
    dots = [{"x": x, "y": y, "label": name} for name, (x, y) in places.items()]
    blank = alt.Axis(labels=False, ticks=False, grid=False, domain=False, title=None)
    wide = alt.Scale(domain=[-0.4, max(nodes.values(), default=0) + 0.6])
    x, y = alt.X("x:Q", axis=blank, scale=wide), alt.Y("y:Q", axis=blank)
    rules = alt.Chart(alt.Data(values=lines)).mark_rule(color="#94a3b8")
    points = alt.Chart(alt.Data(values=dots)).encode(x=x, y=y)
    text = points.mark_text(dy=-12, fontSize=10, color=INK).encode(text="label:N")
    layers = [points.mark_point(filled=True, size=90, color=ACCENT, opacity=1), text]
    if lines:
        layers.insert(0, rules.encode(x=x, y=y, x2="x2:Q", y2="y2:Q"))
    rows = max((y for _, y in places.values()), default=0.0) + 1
    return _sized(alt.layer(*layers), title, width=900, height=int(70 + 45 * rows))


def _places(nodes: Mapping[str, int]) -> dict[str, tuple[float, float]]:
    columns: dict[int, list[str]] = {}
    for name, column in nodes.items():
        columns.setdefault(column, []).append(name)
    tallest = max((len(names) for names in columns.values()), default=1)
    return {
        name: (column, row + (tallest - len(names)) / 2 + 0.35 * (column % 2))
        for column, names in columns.items()
        for row, name in enumerate(names)
    }


def _sized(chart: Any, title: str, width: int = WIDTH, height: int = HEIGHT) -> Any:
    return (
        chart.properties(title=title, width=width, height=height)
        .configure_view(stroke=None)
        .configure_axis(gridColor="#e2e8f0", labelColor=INK, titleColor=INK, labelFontSize=11)
        .configure_title(anchor="start", fontSize=13, color=INK)
    )


def svg(chart: alt.Chart) -> str:
    """Return the chart as an SVG element; no browser and no network."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(chart.to_dict()))
