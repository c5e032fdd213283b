"""Which refusals of a server pass, and how long to wait before asking again."""

from __future__ import annotations

import math
import random
import time
from email.utils import parsedate_to_datetime

_AGAIN = frozenset({408, 409, 425, 429})
_FIRST_PAUSE = 0.5
"""Seconds before the second try, doubled for each other one."""
LONGEST_PAUSE = 60.0
"""The most seconds that are ever waited."""


def is_passing(status: int) -> bool:
    """Say whether a refusal may be gone a moment later, as all of 500 and above may be."""
    return status in _AGAIN or status >= 500


def backoff(attempt: int) -> float:
    """Return the seconds to wait after a try: doubled each time, spread so that nobody marches."""
    longest = min(LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
    return float(longest * random.uniform(0.5, 1.0))


def retry_after(header: str | None) -> float | None:
    """Return the seconds a ``Retry-After`` header asks for (RFC 9110, section 10.2.3)."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
