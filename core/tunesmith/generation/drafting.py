"""What a draft model must share with the model it writes ahead for."""

from __future__ import annotations

from pathlib import Path

from tunesmith.errors import ModelError


def check_draft(draft: Path, model: Path) -> None:
    """Raise ModelError unless both folders speak of the same tokens by the same numbers."""
    if _vocabulary(draft) != _vocabulary(model):
        raise ModelError(
            f"The draft model {draft} has another tokenizer than {model}, so its guesses would mean"
            " something else; use a smaller model made with the same tokenizer."
        )


def _vocabulary(folder: Path) -> tuple[int, dict[str, int]]:
    """Return how many tokens the model has, and the number of each that has a name."""
    from transformers import AutoTokenizer

    from tunesmith.model_facts import read_json

    config = read_json(folder / "config.json")
    size = {**config, **(config.get("text_config") or {})}.get("vocab_size", 0)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} has no tokenizer that can be read: {error}") from error
    return int(size), tokenizer.get_vocab()
