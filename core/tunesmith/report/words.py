"""Numbers and names as a person reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from tunesmith.evidence.measurements import Measurement
from tunesmith.evidence.statistics import Estimate

DASH = "–"


def duration(seconds: float | None) -> str:
    """Return ``0.4 s``, ``42 s``, ``3 min 08 s`` or ``2 h 05 min``."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def moment(at: datetime | None) -> str:
    """Return ``23 Nov 2026, 22:41 UTC``."""
    return f"{at.astimezone(UTC):%-d %b %Y, %H:%M} UTC" if at else DASH


def size(count: float) -> str:
    """Return bytes as ``512 B``, ``1.4 kB`` or ``5.51 MB`` (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def count(number: int, one: str, many: str | None = None) -> str:
    """Return ``1 pair`` or ``2,000 pairs``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def name(key: str) -> str:
    """Return a technique's or a task's name for reading: ``maths reasoning · chain of thought``."""
    return " · ".join(part.replace("_", " ") for part in key.split(":"))


def model(key: str) -> str:
    """Return a model's name for reading: ``aligned on llamacpp`` for ``aligned@llamacpp``."""
    return key.replace("@", " on ")


def percent(share: float, digits: int = 1) -> str:
    """Return ``81.5 %``, or a dash for what is not a number."""
    return f"{100 * share:.{digits}f} %" if math.isfinite(share) else DASH


def share_interval(low: float, high: float) -> str:
    """Return an interval of shares in percent: ``[78.9, 83.8]``."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def estimate(found: Estimate) -> str:
    """Return ``0.81 [0.76, 0.85]``."""
    if not math.isfinite(found.value):
        return DASH
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def points(measurement: Measurement) -> str:
    """Return a difference of shares in points, signed: ``+4.2 [+1.0, +7.5]``."""
    if not measurement.finite:
        return DASH
    m = measurement
    return f"{_signed(m.value)} [{_signed(m.low)}, {_signed(m.high)}]"


def _signed(share: float) -> str:
    text = f"{100 * share:+.1f}"
    return text.replace("-", "−") if float(text) else "0.0"


def value(measurement: Measurement) -> str:
    """Return a measurement's value in its own unit."""
    if not math.isfinite(measurement.value):
        return DASH
    if measurement.unit == "share":
        return percent(measurement.value)
    if measurement.unit == "bytes":
        return size(measurement.value)
    return f"{measurement.value:.4g} {measurement.unit}".strip()


def interval(measurement: Measurement) -> str:
    """Return the interval in the unit of ``value``; empty for what was counted exactly."""
    m = measurement
    if m.low == m.high or not m.finite:
        return ""
    if m.unit == "share":
        return share_interval(m.low, m.high)
    return f"[{m.low:.4g}, {m.high:.4g}]"


def listed(names: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
