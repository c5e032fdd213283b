"""Rows as token ids, with the mask that says which of them are learnt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rich.text import Text

from tunesmith import plugins
from tunesmith.cli.screen import console, say
from tunesmith.cli.starting import source_for
from tunesmith.config import Lifecycle, load_config
from tunesmith.errors import ConfigError, DataError
from tunesmith.records import Row
from tunesmith.rows import type_of
from tunesmith.splits import SPLITS, filtered
from tunesmith.techniques import DatasetFilter, DatasetSource

LOOKED_AT = 5000
"""Rows searched for the split that was asked for."""


def rendered(
    file: Path, overrides: Sequence[str], model: str | None, count: int, split: str
) -> list[dict[str, Any]]:
    """Return rows as pieces of text with their ids, each learnt or given."""
    if split not in SPLITS:
        raise ConfigError(f"There is no split {split!r}. Splits: {', '.join(SPLITS)}.")
    if file.suffix in (".yaml", ".yml"):
        config = load_config(file, overrides)
        found, model = list(_of_config(config)), model or config.model
    else:
        found = list(islice(_source(source_for(file)).rows(), LOOKED_AT))
    chosen = [row for row in found if row.get("split", split) == split][:count]
    if not chosen:
        raise DataError(f"None of the first {len(found)} rows is in the split {split}.")
    return [_render(row, _tokenizer(model or "builtin:nano")) for row in chosen]


def _of_config(config: Lifecycle) -> Iterator[Row]:
    if config.data is None:
        raise ConfigError(f"{config.name} has no `data:` section, so there are no rows to show.")
    filters = [plugins.build(DatasetFilter, spec) for spec in config.data.filters]
    for spec in config.data.sources:
        rows = islice(_source(spec).rows(), LOOKED_AT)
        yield from filtered(rows, filters)[0]


def _source(spec: dict[str, Any]) -> DatasetSource:
    return plugins.build(DatasetSource, spec)


def _tokenizer(model: str) -> Any:
    from tunesmith.models import load_tokenizer, resolve_model

    if model == "scratch":
        raise ConfigError("A model from scratch has no tokenizer yet. Name one with --model.")
    return load_tokenizer(resolve_model(model))


def _render(row: Row, tokenizer: Any) -> dict[str, Any]:
    from tunesmith.chat import prompt_text, render_rows

    kind = type_of(row)
    if kind == "prompt-only":
        text = prompt_text(tokenizer, row["prompt"])
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return _facts(row, kind, tokenizer, ids, [False] * len(ids))
    if kind == "preference":
        row = {**row, "completion": row["chosen"]}
    one = render_rows(tokenizer, [row])[0]
    return _facts(row, str(kind), tokenizer, one.ids, one.mask)


def _facts(
    row: Row, kind: str, tokenizer: Any, ids: Sequence[int], mask: Sequence[bool]
) -> dict[str, Any]:
    return {
        "id": row.get("id"),
        "type": kind,
        "tokens": len(ids),
        "learnt": sum(mask),
        "pieces": [
            {"text": tokenizer.decode(part), "ids": list(part), "learnt": learnt}
            for part, learnt in _runs(ids, mask)
        ],
    }


def _runs(ids: Sequence[int], mask: Sequence[bool]) -> Iterator[tuple[list[int], bool]]:
    """Yield stretches of tokens that are all learnt or all given."""
    start = 0
    for at in range(1, len(ids) + 1):
        if at == len(ids) or mask[at] != mask[start]:
            yield list(ids[start:at]), mask[start]
            start = at


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows, what is learnt in green."""
    screen = console()
    for row in rows:
        say(f"{row['id'] or ''}  {row['type']}  {row['tokens']} tokens, {row['learnt']} learnt")
        text = Text()
        for piece in row["pieces"]:
            text.append(piece["text"], style="green" if piece["learnt"] else "dim")
        screen.print(text, soft_wrap=True)
        say()
