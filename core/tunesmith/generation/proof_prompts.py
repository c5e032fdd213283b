"""What a proof asks where nobody says: short questions, and texts that are to be repeated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunesmith.errors import DataError

_STORY = "Mia found a red kite by the river. The kite was torn, so Mia mended the kite."
PROMPTS = (
    "What is 17 plus 25?",
    "Tom has 12 apples and gives away 5. How many are left?",
    "Write a short story about a dog and a river.",
    "Translate into French: the cat sleeps in the garden.",
    f"Repeat this text word for word: {_STORY}",
    f"Summarise in one sentence: {_STORY} Then Mia flew the kite by the river again.",
    "Write a Python function that returns the sum of a list.",
    "List the numbers from 1 to 20.",
    "Say the word kite ten times.",
    "Once upon a time",
    "Name three animals that live in the sea.",
    "Why is the sky blue?",
)


def read_prompts(path: Path) -> list[Any]:
    """Return the prompts of a file: one a line, or JSON lines with ``prompt``.

    A prompt is a text or a conversation. Raises DataError naming the line that is neither.
    """
    if not path.is_file():
        raise DataError(f"There is no file {path}. Give a text file with one prompt a line.")
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not kept:
        raise DataError(f"{path} holds no prompt.")
    if path.suffix not in (".jsonl", ".json"):
        return [line for _, line in kept]
    return [_prompt(path, number, line) for number, line in kept]


def _prompt(path: Path, number: int, line: str) -> Any:
    try:
        row = json.loads(line)
        return row["prompt"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}, line {number}: no JSON object with a key `prompt`.") from error


def asked_of(
    folder: Path, prompts: Sequence[Any], new: int, tokenizer_from: Path | None = None
) -> tuple[list[list[int]], tuple[int, ...]]:
    """Return the prompts as a model's token ids, and the ids that end its answers.

    A text is asked as a user would; a prompt that leaves no room for ``new`` tokens keeps its end.
    ``tokenizer_from`` is the folder of the tokenizer where it is not the model's own.
    """
    from transformers import AutoTokenizer

    from tunesmith.chat import encode_prompt, ensure_template, stop_ids
    from tunesmith.models import context_length

    home = tokenizer_from or folder
    tokenizer = AutoTokenizer.from_pretrained(
        str(home), local_files_only=True, trust_remote_code=False
    )
    ensure_template(tokenizer)
    room = max(context_length(folder) - new, 1)
    asked = [[{"role": "user", "content": p}] if isinstance(p, str) else p for p in prompts]
    return [encode_prompt(tokenizer, one)[-room:] for one in asked], stop_ids(tokenizer, home)
