"""Model text made harmless to look at: what it says is shown, what it would do is not done.

Escaping for HTML is the template's job, and showing without Markdown the page's. What is left are
characters that change how the text around them is read, and lengths that no page survives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST = 1_200
"""Characters of one answer that a report shows."""

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


@dataclass(frozen=True, slots=True)
class Cut:
    """The beginning of a text, and how many characters of it are not shown."""

    text: str
    left_out: int


def visible(text: str) -> str:
    """Return the text with every character that cannot be seen written as ``⟦U+202E⟧``.

    Among them are the marks that turn reading direction round (Trojan Source, CVE-2021-42574).
    Line breaks and tabs stay, and so do the joiners that Persian, Hindi and emoji are written with.
    """
    plain = text.replace("\r\n", "\n")
    return _HIDDEN.sub(lambda found: f"⟦U+{ord(found[0]):04X}⟧", plain)


def cut(text: str, longest: int = LONGEST) -> Cut:
    """Return the visible text, cut at ``longest`` characters."""
    return Cut(visible(text[:longest]), max(0, len(text) - longest))
