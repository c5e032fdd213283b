"""From labels to preference rows, and how well annotators can be predicted at all.

A preference row keeps what the labels said instead of one winner: ``p_first`` is the share of
labels for ``chosen`` (a tie counts half), ``n`` how many labels there were, ``agreement`` the share
of pairs of annotators who said the same, ``votes`` who said what.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from tunesmith.errors import DataError
from tunesmith.evidence.statistics import Estimate, wilson
from tunesmith.records import Label, Message, Pair, Row

VERDICTS = ("first", "second", "tie", "both_bad", "skip")
CeilingKind = Literal["utility", "leave_one_out", "none"]
Utility = Callable[[Pair, str], float | None]
EQUAL = 1e-9
"""Utilities closer than this are the same."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The accuracy that a perfect judge would reach against the same annotators."""

    estimate: Estimate
    kind: CeilingKind
    """``utility``: annotators against the worth they were drawn from; ``leave_one_out``: each
    person against the majority of the others; ``none``: nobody shared a pair with anybody."""


def preference_rows(
    pairs: Iterable[Pair],
    labels: Iterable[Label],
    *,
    both_bad: Literal["tie", "drop"] = "tie",
    utility: Utility | None = None,
) -> list[Row]:
    """Return one row per pair with at least one usable label, in the order of the pairs.

    ``chosen`` is what most labels prefer (the first answer at a draw). With ``utility`` the rows
    also carry ``utility_chosen`` and ``utility_rejected``, which no training method reads.
    """
    verdicts: dict[str, dict[str, str]] = defaultdict(dict)
    for label in labels:
        if label.verdict not in VERDICTS:
            raise DataError(f"Label of {label.pair_id!r} has no verdict {label.verdict!r}.")
        if label.verdict != "skip" and not (label.verdict == "both_bad" and both_bad == "drop"):
            verdicts[label.pair_id][label.annotator] = label.verdict
    return [_row(pair, verdicts[pair.id], utility) for pair in pairs if verdicts.get(pair.id)]


def _row(pair: Pair, verdicts: Mapping[str, str], utility: Utility | None) -> Row:
    points = {"first": 1.0, "second": 0.0}
    p_first = sum(points.get(verdict, 0.5) for verdict in verdicts.values()) / len(verdicts)
    swapped = p_first < 0.5
    chosen, rejected = (pair.second, pair.first) if swapped else (pair.first, pair.second)
    row: Row = {
        "id": pair.id, "task": pair.task, "prompt": pair.prompt,
        "chosen": _answer(chosen), "rejected": _answer(rejected),
        "pair_id": pair.id, "group": prompt_group(pair.prompt), "reference": pair.reference,
        "p_first": 1 - p_first if swapped else p_first, "tie": p_first == 0.5,
        "n": len(verdicts), "agreement": agreement(list(verdicts.values())),
        "votes": {who: _vote(verdicts[who], swapped) for who in sorted(verdicts)},
    }  # fmt: skip
    if utility is not None:
        row["utility_chosen"] = utility(pair, chosen)
        row["utility_rejected"] = utility(pair, rejected)
    return row


def _answer(text: str) -> list[Message]:
    return [{"role": "assistant", "content": text}]


def _vote(verdict: str, swapped: bool) -> str:
    if verdict not in ("first", "second"):
        return verdict
    return "chosen" if (verdict == "second") == swapped else "rejected"


def unpaired(rows: Iterable[Row]) -> list[Row]:
    """Return two unpaired preference rows per preference row: what its labels say of each answer.

    A label for an answer likes it and dislikes the other one, ``both_bad`` dislikes both, a tie
    says nothing. ``label`` is what most labels say; where they balance it is false and
    ``undecided`` is true.
    """
    return [_alone(row, *sides) for row in rows for sides in (_SIDES, _SIDES[::-1])]


_SIDES = ("chosen", "rejected")


def _alone(row: Row, side: str, other: str) -> Row:
    # Rows from elsewhere say no more than who won.
    p = row.get("p_first", 1.0)
    votes = Counter(row.get("votes", {}).values()) or {"chosen": p, "rejected": 1 - p}
    liked, disliked = votes.get(side, 0), votes.get(other, 0) + votes.get("both_bad", 0)
    names = ("task", "group", "pair_id", "n", "agreement")
    kept: Row = {key: row[key] for key in names if key in row}
    return {
        **kept, "prompt": row["prompt"], "completion": row[side], "label": liked > disliked,
        "undecided": liked == disliked,
    }  # fmt: skip


def prompt_group(prompt: Sequence[Message]) -> str:
    """Return what the pairs of one prompt have in common; no split separates them."""
    text = json.dumps(list(prompt), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def agreement(verdicts: Sequence[str]) -> float:
    """Return the share of pairs of annotators with the same verdict; 1 for a single label."""
    together = list(combinations(verdicts, 2))
    return sum(a == b for a, b in together) / len(together) if together else 1.0


def hold_out(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Split into (training, held-out) rows by group; independent of the order of the rows.

    Raise DataError when either part would be empty.
    """
    groups = sorted({str(row["group"]) for row in rows}, key=lambda g: _lot(g, seed))
    taken = set(groups[: max(1, round(share * len(groups)))])
    inside = [row for row in rows if row["group"] in taken]
    rest = [row for row in rows if row["group"] not in taken]
    if not inside or not rest:
        raise DataError(
            f"{len(rows)} labelled pairs over {len(groups)} prompts cannot be split into training"
            " and held-out pairs. Label more pairs (`respond.prompts`, `collect.overlap`)."
        )
    return rest, inside


def _lot(group: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{group}".encode()).hexdigest()


def decisive(row: Row) -> tuple[float, int]:
    """Return how many labels are for ``chosen``, and how many are for either answer."""
    votes = Counter(row["votes"].values())
    return float(votes["chosen"]), votes["chosen"] + votes["rejected"]


def worth_gap(row: Row) -> float | None:
    """Return how much more ``chosen`` is worth than ``rejected``, where that is known."""
    chosen, rejected = row.get("utility_chosen"), row.get("utility_rejected")
    return None if chosen is None or rejected is None else float(chosen) - float(rejected)


def comparable(rows: Iterable[Row]) -> list[Row]:
    """Return the rows on which a judge can be right or wrong.

    That is those with a label for either answer and, where their worth is known, of unequal worth.
    """
    found = []
    for row in rows:
        gap = worth_gap(row)
        if decisive(row)[1] and (gap is None or abs(gap) > EQUAL):
            found.append(row)
    return found


def points(rows: Sequence[Row], gaps: Sequence[float]) -> list[float]:
    """Return for each row the share of its decisive labels that a judge agrees with.

    ``gaps`` holds one number per row, above 0 when the judge prefers ``chosen``; 0 counts half.
    """
    shares = []
    for row, gap in zip(rows, gaps, strict=True):
        chosen, n = decisive(row)
        share = chosen / n
        shares.append(share if gap > 0 else 1 - share if gap < 0 else 0.5)
    return shares


def share_right(rows: Sequence[Row], gaps: Sequence[float]) -> Estimate:
    """Return how often labels agree with a judge, see ``points``.

    The interval is Wilson's over pairs, not labels, because labels of one pair hang together.
    """
    return wilson(sum(points(rows, gaps)), len(rows))


def ceiling(rows: Sequence[Row]) -> Ceiling:
    """Return the accuracy of the annotators themselves on the comparable rows."""
    kind, values = ceiling_points(comparable(rows))
    known = [value for value in values if value is not None]
    return Ceiling(wilson(sum(known), len(known)), kind)


def ceiling_points(rows: Sequence[Row]) -> tuple[CeilingKind, list[float | None]]:
    """Return for each comparable row what a perfect judge would score there, None if unknown."""
    gaps = [worth_gap(row) for row in rows]
    known = [gap for gap in gaps if gap is not None]
    if rows and len(known) == len(rows):
        return "utility", list(points(rows, known))
    values = [_one_against_others(row) for row in rows]
    return ("leave_one_out" if any(v is not None for v in values) else "none"), values


def _one_against_others(row: Row) -> float | None:
    """Compare each decisive label with the majority of the others on its pair."""
    votes = [vote for vote in row["votes"].values() if vote in ("chosen", "rejected")]
    if len(votes) < 2:
        return None
    total = 0.0
    for vote in votes:
        same = votes.count(vote) - 1
        different = len(votes) - 1 - same
        total += 1.0 if same > different else 0.0 if same < different else 0.5
    return total / len(votes)
