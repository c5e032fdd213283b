"""The texts that a quantizer looks at, as the token ids that the model will see."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith import DataError
from tunesmith.chat import encode_prompt, render_rows
from tunesmith.generation.proof_prompts import PROMPTS
from tunesmith.records import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["PROMPTS", "digest", "token_ids"]

_WHOLE = ("text", "messages", "completion")
"""Any of these makes a row a finished text; a prompt alone waits for the assistant."""


def digest(path: Path | None) -> str:
    """Return a sha256 of the file, or of the built-in prompts."""
    content = json.dumps(PROMPTS).encode() if path is None else path.read_bytes()
    return hashlib.sha256(content).hexdigest()


def token_ids(
    tokenizer: PreTrainedTokenizerBase, path: Path | None, most: int, longest: int
) -> list[list[int]]:
    """Return up to ``most`` texts, each cut to ``longest`` tokens, in the order of the file.

    Raises DataError naming the line that is no text, and for a file without any.
    """
    rows = _rows(path) if path else [{"prompt": _asked(text)} for text in PROMPTS]
    texts = [_ids(tokenizer, row)[:longest] for row, _ in zip(rows, range(most), strict=False)]
    if not texts:
        raise DataError(f"{path} holds no text.")
    return texts


def _asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _rows(path: Path) -> Iterator[Row]:
    if not path.is_file():
        raise DataError(f"There is no calibration file {path}.")
    as_json = path.suffix in (".jsonl", ".json")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _row(path, number, line) if as_json else {"text": line.rstrip("\n")}


def _row(path: Path, number: int, line: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{path}, line {number}: no JSON object ({error}).") from error
    if not isinstance(row, dict) or not {"text", "messages", "prompt"} & set(row):
        raise DataError(
            f"{path}, line {number}: a row needs `text`, `messages`, or `prompt` (with"
            " `completion` or `chosen`)."
        )
    if "chosen" in row:
        row = {"prompt": row.get("prompt"), "completion": row["chosen"]}
    if isinstance(row.get("prompt"), str):
        row["prompt"] = _asked(row["prompt"])
    return row


def _ids(tokenizer: PreTrainedTokenizerBase, row: Row) -> list[int]:
    if any(key in row for key in _WHOLE):
        return render_rows(tokenizer, [row])[0].ids
    return encode_prompt(tokenizer, row["prompt"])
