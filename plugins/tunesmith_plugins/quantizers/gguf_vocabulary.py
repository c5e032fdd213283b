"""A Hugging Face tokenizer in GGUF's terms.

Prompts and answers cross to llama.cpp as token ids, so Tunesmith itself never relies on what is
written here; other programs that open the file do. Where llama.cpp has no splitting rule like the
tokenizer's own, the nearest is named and the report says that it is not exact.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tunesmith import ModelError

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import PreTrainedTokenizerBase

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITTERS = {
    (_GPT2,): "gpt-2",
    ("digits", _GPT2): "smollm",
    (_WORDS + "{1,3}" + _REST,): "llama-bpe",
    (_WORDS + _REST,): "qwen2",
}
"""The patterns a tokenizer splits by, one after another, and llama.cpp's name for the rule."""
_NO_MERGES = ["\N{SYMBOL FOR NULL} \N{SYMBOL FOR NULL}"]
"""llama.cpp demands a list and GGUF has no empty one: a pair that byte-level text never holds."""
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


def write_vocabulary(
    writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, size: int
) -> dict[str, Any]:
    """Write tokens, merges, special ids and chat template; return what the report says of them.

    ``size`` is the model's vocabulary; ids beyond the tokenizer's are written as unused.
    """
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    model = rules["model"]
    kind, exact = _kind(rules)
    tokens, types = _tokens(tokenizer, size, byte_fallback=bool(model.get("byte_fallback")))
    writer.add_tokenizer_model("gpt2" if kind not in ("llama", "t5") else kind)
    writer.add_tokenizer_pre("default" if kind in ("llama", "t5") else kind)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if kind in ("llama", "t5"):
        writer.add_token_scores(_scores(model, tokens))
        writer.add_add_space_prefix(_prefixes_space(rules))
    else:
        writer.add_token_merges([_merge(pair) for pair in model["merges"]] or _NO_MERGES)
    _write_specials(writer, tokenizer)
    return {"tokenizer": kind, "tokenizer_exact": exact}


def _kind(rules: dict[str, Any]) -> tuple[str, bool]:
    """Return llama.cpp's rule and whether it splits text as the tokenizer does."""
    model, parts = rules["model"]["type"], _steps(rules["pre_tokenizer"], "pretokenizers")
    if model == "Unigram":
        return "t5", True
    if model == "BPE" and any(step["type"] == "ByteLevel" for step in parts):
        name = _SPLITTERS.get(_patterns(parts))
        return name or "default", name is not None and rules["normalizer"] is None
    if model == "BPE" and _SPACE in json.dumps(rules, ensure_ascii=False):
        return "llama", bool(rules["model"]["merges"])
    raise ModelError(
        f"A {model} tokenizer like this one has no GGUF form. Supported: byte-level BPE,"
        " SentencePiece BPE, Unigram."
    )


def _steps(part: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    if part is None:
        return []
    return part[key] if part["type"] == "Sequence" else [part]


def _patterns(parts: list[dict[str, Any]]) -> tuple[str, ...]:
    found = []
    for step in parts:
        if step["type"] == "Split":
            found.append(step["pattern"].get("Regex") or step["pattern"].get("String"))
        elif step["type"] == "Digits" and step["individual_digits"]:
            found.append("digits")
        elif step["type"] == "ByteLevel" and step["use_regex"]:
            found.append(_GPT2)
        elif step["type"] != "ByteLevel":
            found.append(step["type"])
    return tuple(found)


def _tokens(
    tokenizer: PreTrainedTokenizerBase, size: int, *, byte_fallback: bool
) -> tuple[list[str], list[int]]:
    from gguf import TokenType

    by_id = {i: token for token, i in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    tokens, types = [], []
    for i in range(size):
        tokens.append(by_id.get(i, f"[UNUSED{i}]"))
        kind = TokenType.NORMAL
        if i not in by_id:
            kind = TokenType.UNUSED
        elif i == tokenizer.unk_token_id:
            kind = TokenType.UNKNOWN
        elif i in added:
            kind = TokenType.CONTROL if added[i].special else TokenType.USER_DEFINED
        elif byte_fallback and _is_byte(by_id[i]):
            kind = TokenType.BYTE
        types.append(int(kind))
    return tokens, types


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def _scores(model: dict[str, Any], tokens: list[str]) -> list[float]:
    if model["type"] == "Unigram":
        known = {piece: float(score) for piece, score in model["vocab"]}
        return [known.get(token, 0.0) for token in tokens]
    # llama.cpp joins the pair with the highest score first, as a lower merge rank does.
    ranks = {_merge(pair).replace(" ", ""): rank for rank, pair in enumerate(model["merges"])}
    return [-float(ranks.get(token, len(ranks))) for token in tokens]


def _merge(pair: str | list[str]) -> str:
    return pair if isinstance(pair, str) else " ".join(pair)


def _prefixes_space(rules: dict[str, Any]) -> bool:
    steps = _steps(rules["normalizer"], "normalizers")
    steps += _steps(rules["pre_tokenizer"], "pretokenizers")
    return any(
        step["type"] == "Prepend" or step.get("prepend_scheme") in ("always", "first")
        for step in steps
    )


def _write_specials(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase) -> None:
    for name in ("bos", "eos", "unk", "pad"):
        token = getattr(tokenizer, f"{name}_token_id")
        if token is not None:
            getattr(writer, f"add_{name}_token_id")(token)
    first = tokenizer("a")["input_ids"][:1]
    writer.add_add_bos_token(
        tokenizer.bos_token_id is not None and first == [tokenizer.bos_token_id]
    )
    writer.add_add_eos_token(False)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)
