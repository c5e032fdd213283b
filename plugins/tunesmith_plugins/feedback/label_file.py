"""Labels that were made elsewhere, read from a file of JSON lines."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from tunesmith import DataError, FeedbackSource, Label, Pair, hookimpl
from tunesmith.errors import did_you_mean
from tunesmith.preferences import VERDICTS

log = logging.getLogger("tunesmith.feedback")
_KEYS = ("pair_id", "verdict", "annotator", "shown_first", "strength", "details")


class LabelFile(FeedbackSource):
    """Labels by pair id: `{"pair_id": ..., "annotator": ..., "verdict": "first"}` per line."""

    name = "label_file"
    path: Path = Field(examples=[Path("labels.jsonl")])
    """JSON lines; `verdict` is first, second, tie, both_bad or skip; `annotator` may be absent."""

    def problems(self) -> list[str]:
        """Refuse a file that is not there before anything runs."""
        return [] if self.path.is_file() else [f"label_file.path: there is no file {self.path}."]

    def fingerprint(self) -> str:
        """Return the file's sha256: other labels make another artifact."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def judge(self, pairs: Sequence[Pair], seed: int) -> list[Label]:
        """Return the file's labels for these pairs; raise DataError naming a bad line."""
        wanted = {pair.id for pair in pairs}
        labels = list(self._labels())
        found = [label for label in labels if label.pair_id in wanted]
        if not found:
            raise DataError(
                f"None of the {len(labels)} labels in {self.path} is for one of the {len(wanted)}"
                " pairs. A pair's id depends on its prompt and answers: label the pairs.jsonl of"
                " this run's `respond` stage."
            )
        if len(found) < len(labels):
            log.warning("%s: %d labels are for other pairs", self.path, len(labels) - len(found))
        return found

    def _labels(self) -> Iterator[Label]:
        seen: set[tuple[str, str]] = set()
        for where, record in self._records():
            label = _label(where, record)
            key = (label.pair_id, label.annotator)
            if key in seen:
                raise DataError(
                    f"{where}: {label.annotator!r} labels pair {label.pair_id!r} a second time."
                    " Keep one line per annotator and pair."
                )
            seen.add(key)
            yield label

    def _records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for number, line in enumerate(self.path.read_bytes().splitlines(), 1):
            where = f"{self.path}:{number}"
            if not line.strip():
                continue
            try:
                record = json.loads(line.decode("utf-8"))
            except ValueError as error:
                raise DataError(f"{where} is not a JSON line in UTF-8: {error}") from error
            if not isinstance(record, dict):
                raise DataError(f"{where} is not a JSON object; got {line[:60].decode()!r}.")
            yield where, record


def _label(where: str, record: dict[str, Any]) -> Label:
    for key in record:
        if key not in _KEYS:
            hint = did_you_mean(key, _KEYS)
            raise DataError(f"{where}: unknown key {key!r}.{hint} Keys: {', '.join(_KEYS)}.")
    verdict, pair_id = record.get("verdict"), record.get("pair_id")
    if not isinstance(pair_id, str):
        raise DataError(f"{where} has no `pair_id` (a string).")
    if verdict not in VERDICTS:
        hint = did_you_mean(str(verdict), VERDICTS)
        raise DataError(f"{where}: no verdict {verdict!r}.{hint} One of {', '.join(VERDICTS)}.")
    if record.get("shown_first", "first") not in ("first", "second"):
        raise DataError(f"{where}: `shown_first` is first or second.")
    fields = {"annotator": "file", **record, "source": "label_file"}
    return Label(**fields)


@hookimpl
def register_feedback_sources() -> list[type[FeedbackSource]]:
    """Offer the technique."""
    return [LabelFile]
