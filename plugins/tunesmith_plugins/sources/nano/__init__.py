"""The nano world: five families of synthetic tasks small enough for a tiny language model.

This module stays light: the grammar and the word lists load when rows are asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tunesmith import DataError, DatasetSource, Row, hookimpl

Family = Literal["maths", "translation", "code", "summaries", "stories"]
TASKS: dict[str, str] = {
    "maths": "maths_reasoning",
    "translation": "machine_translation",
    "code": "code_generation",
    "summaries": "summarisation",
    "stories": "creative_writing",
}
"""The technique that scores each family."""
_ENDLESS = 10**12


class Nano(DatasetSource):
    """Generate maths, translation, code, summaries and stories, with fixed and disjoint splits."""

    name = "nano"
    form: Literal["tasks", "prose"] = "tasks"
    """``tasks`` gives questions with answers; ``prose`` gives documents to pre-train on."""
    families: tuple[Family, ...] = ("maths", "translation", "code", "summaries", "stories")
    """The families of tasks to draw from."""
    train: int | dict[Family, int] = 400
    """Training items, for every family or for each by name."""
    validation: int | dict[Family, int] = 40
    """Validation items per family; as prose, validation documents in all."""
    prompts: int | dict[Family, int] = 100
    """Items per family whose prompts the model answers itself, for feedback and alignment."""
    test: int | dict[Family, int] = 200
    """Test items per family."""
    documents: int = Field(default=1000, ge=1)
    """Training documents, as prose."""
    seed: int = 7
    """Which items are drawn; the split of an item never depends on it."""
    direct_share: float = Field(default=0.4, ge=0.0, le=1.0)
    """Share of maths items answered directly; the others are worked out step by step."""

    def problems(self) -> list[str]:
        """Refuse negative counts, no families, and a mapping where prose needs a number."""
        found = [] if self.families else ["nano needs at least one family."]
        for split in ("train", "validation", "prompts", "test"):
            wanted = getattr(self, split)
            counts = wanted.values() if isinstance(wanted, dict) else [wanted]
            if any(count < 0 for count in counts):
                found.append(f"nano.{split} must not be negative.")
        if self.form == "prose" and isinstance(self.validation, dict):
            found.append("nano.validation must be one number for prose.")
        return found

    def rows(self) -> Iterator[Row]:
        """Yield prompt-completion rows, or language-modelling rows as prose."""
        if self.form == "prose":
            yield from self._documents("train", self.documents, self.seed)
            held = 0 if isinstance(self.validation, dict) else self.validation
            yield from self._documents("validation", held, f"{self.seed}/validation")
            return
        for family in self.families:
            for split in ("train", "validation", "prompts", "test"):
                yield from self._items(family, split)

    def fingerprint(self) -> str:
        """Return a hash of every source file of the generator."""
        digest = hashlib.sha256()
        for path in sorted(Path(__file__).parent.glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()

    def _documents(self, split: str, count: int, seed: Any) -> Iterator[Row]:
        from tunesmith_plugins.sources.nano import world

        for number, text in enumerate(islice(world.documents(seed), count)):
            yield {"id": f"document-{split}-{number}", "text": text, "split": split}

    def _count(self, family: Family, split: str) -> int:
        wanted = getattr(self, split)
        return int(wanted.get(family, 0) if isinstance(wanted, dict) else wanted)

    def _items(self, family: Family, split: str) -> Iterator[Row]:
        from tunesmith_plugins.sources.nano import world

        # The world knows no validation split: a fixed eighth of its train items serves as one.
        learned = split in ("train", "validation")
        count, drawn = self._count(family, split), 0
        pool = world.items(family, "train" if learned else split, _ENDLESS, self.seed)
        while drawn < count:
            try:
                item = next(pool)
            except ValueError as error:
                wanted = f"{count} {split} items of {family}"
                raise DataError(f"nano cannot give {wanted}: {error}.") from error
            group = f"{family}/{item.key}"
            if learned and (_share(f"validation/{group}") < 0.125) != (split == "validation"):
                continue
            drawn += 1
            thoughtful = item.steps is not None and (
                split != "train" or _share(f"style/{group}") >= self.direct_share
            )
            style = "chain_of_thought" if thoughtful else "direct"
            yield world.row(item, style) | {"task": TASKS[family], "style": style, "split": split}


def _share(text: str) -> float:
    """Return a number in [0, 1) that hangs on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64


@hookimpl
def register_dataset_sources() -> list[type[DatasetSource]]:
    """Offer the nano world."""
    return [Nano]
