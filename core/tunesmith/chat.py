"""Conversations as token ids, the same ones in training, evaluation and serving.

A prompt is the chat template up to the point where the assistant speaks; a completion is what the
template adds after that, up to and including the end-of-turn token. The two are tokenised apart,
so that what a model is trained to continue is exactly what an engine hands it. Special tokens that
people spell in a message stay letters (see `guarding`); plain text prompts are taken as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import DataError, ModelError
from tunesmith.guarding import encode, guard, unguard
from tunesmith.model_facts import read_json
from tunesmith.records import Message, Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Prompt = list[Message] | str
"""A conversation, or plain text that a model continues as it stands."""

END = "<|end|>"

# The separator and the cleaning depend on what the tokenizer can spell, so they are filled in once
# and the finished template is stored with the model.
_PLAIN_TEMPLATE = (
    "{{- BOS -}}"
    "{%- for message in messages -%}"
    "{%- if not loop.first -%}{{- 'SEPARATOR' -}}{%- endif -%}"
    "{%- set content = message['content']CLEAN | trim -%}"
    "{{- message['role'] | capitalize + ': ' + content -}}"
    "{%- if message['role'] == 'assistant' -%}{{- eos_token -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'SEPARATORAssistant:' -}}{%- endif -%}"
)


@dataclass(frozen=True, slots=True)
class Rendered:
    """One sequence: token ids, and for each whether the model is trained to predict it."""

    ids: list[int]
    mask: list[bool]


def ensure_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a tokenizer without a chat template the plain one: ``User: ... Assistant: ...``.

    Raises ModelError when there is no end-of-sequence token to end a turn with.
    """
    _end(tokenizer)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = _plain_template(tokenizer)


def _plain_template(tokenizer: PreTrainedTokenizerBase) -> str:
    starts = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    newline = _spells_newline(tokenizer)
    return (
        _PLAIN_TEMPLATE.replace("BOS", "bos_token" if starts else "''", 1)
        .replace("SEPARATOR", "\\n" if newline else " ")
        .replace("CLEAN", "" if newline else " | replace('\\n', ' ')")
    )


def _spells_newline(tokenizer: PreTrainedTokenizerBase) -> bool:
    ids = tokenizer("a\nb", add_special_tokens=False)["input_ids"]
    return tokenizer.unk_token_id not in ids and "\n" in tokenizer.decode(ids)


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the id that ends a turn: the tokenizer's eos, else ``<|end|>`` if it has one."""
    if tokenizer.eos_token_id is not None:
        return int(tokenizer.eos_token_id)
    known = tokenizer.get_vocab().get(END)
    return None if known is None else int(known)


def _end(tokenizer: PreTrainedTokenizerBase) -> int:
    end = end_of_turn(tokenizer)
    if end is None:
        raise ModelError("The tokenizer names no eos token, so no turn can end. Set eos_token.")
    return end


def _end_text(tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.convert_ids_to_tokens(_end(tokenizer)))


def stop_ids(tokenizer: PreTrainedTokenizerBase, model_dir: Path) -> tuple[int, ...]:
    """Return every id that ends an answer: the end of turn and what generation_config.json adds."""
    stops = {end_of_turn(tokenizer)}
    path = model_dir / "generation_config.json"
    named = read_json(path).get("eos_token_id") if path.is_file() else None
    stops |= set(named) if isinstance(named, list) else {named}
    return tuple(sorted(stop for stop in stops if stop is not None))


def encode_prompt(tokenizer: PreTrainedTokenizerBase, messages: Prompt) -> list[int]:
    """Return the ids of a conversation, ready for the assistant to speak."""
    return encode(tokenizer, [_prompt(tokenizer, messages)])[0]


def prompt_text(tokenizer: PreTrainedTokenizerBase, messages: Prompt) -> str:
    """Return the prompt as the template writes it, special tokens spelled out; for eyes only."""
    return unguard(tokenizer, _prompt(tokenizer, messages))


def _prompt(tokenizer: PreTrainedTokenizerBase, messages: Prompt) -> str:
    if isinstance(messages, str):
        return _bos(tokenizer) + messages
    return _apply(tokenizer, messages, generate=True)


def _bos(tokenizer: PreTrainedTokenizerBase) -> str:
    starts = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return str(tokenizer.bos_token) if starts else ""


def _apply(tokenizer: PreTrainedTokenizerBase, messages: list[Message], *, generate: bool) -> str:
    from jinja2 import TemplateError

    try:
        safe = [{**turn, "content": guard(tokenizer, turn["content"])} for turn in messages]
        return str(
            tokenizer.apply_chat_template(safe, tokenize=False, add_generation_prompt=generate)
        )
    except (TemplateError, TypeError, KeyError) as error:
        roles = [message.get("role") for message in messages]
        raise DataError(
            f"The chat template refuses a conversation with the roles {roles}: {error}"
        ) from error


def _completion(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, completion: str) -> str:
    """Return what follows the prompt's text, guarded, without the end-of-turn token.

    A template may add white space or a thinking block before the answer; where its rendering does
    not begin with the prompt, the answer follows the prompt as it stands.
    """
    if isinstance(prompt, str):
        return completion
    before = _prompt(tokenizer, prompt)
    turn = {"role": "assistant", "content": completion}
    whole = _apply(tokenizer, [*prompt, turn], generate=False)
    if not whole.startswith(before):
        return guard(tokenizer, completion)
    added, found, _ = whole[len(before) :].rpartition(_end_text(tokenizer))
    return added if found else whole[len(before) :]


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Prompt, completion: str | None = None
) -> Rendered:
    """Return a conversation as ids with its mask.

    With ``completion`` only that answer and its end of turn are trained on; without it, all of the
    conversation is.
    """
    if completion is None:
        return render_rows(tokenizer, [_whole(messages)])[0]
    return render_rows(tokenizer, [{"prompt": messages, "completion": completion}])[0]


def _whole(messages: Prompt) -> Row:
    return {"text": messages} if isinstance(messages, str) else {"messages": messages}


def render_rows(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]) -> list[Rendered]:
    """Render language-modelling or prompt-completion rows, tokenised in parallel.

    Raises DataError naming the row whose columns are neither.
    """
    parts = [_parts(tokenizer, row, number) for number, row in enumerate(rows)]
    befores = encode(tokenizer, [before for before, _ in parts])
    afters = encode(tokenizer, [after for _, after in parts])
    end = _end(tokenizer)
    return [
        Rendered([*before, *after, end], [False] * len(before) + [True] * (len(after) + 1))
        for before, after in zip(befores, afters, strict=True)
    ]


def _parts(tokenizer: PreTrainedTokenizerBase, row: Row, number: int) -> tuple[str, str]:
    """Return a row as (text that is given, text that is learnt)."""
    if "text" in row:
        return "", _bos(tokenizer) + str(row["text"])
    if "messages" in row:
        whole = _apply(tokenizer, row["messages"], generate=False)
        return "", whole.rstrip().removesuffix(_end_text(tokenizer))
    if "prompt" in row and "completion" in row:
        answer = _answer(row["completion"], number)
        prompt = row["prompt"]
        return _prompt(tokenizer, prompt), _completion(tokenizer, prompt, answer)
    raise DataError(
        f"Row {number} has the columns {sorted(row)}; it needs prompt and completion, text, or"
        " messages."
    )


def _answer(completion: Any, number: int) -> str:
    if isinstance(completion, str):
        return completion
    if len(completion) != 1 or completion[0].get("role") != "assistant":
        roles = [turn.get("role") for turn in completion]
        raise DataError(
            f"Row {number}: a completion is one assistant turn, and this one has the roles {roles}."
            " Move earlier turns into the prompt."
        )
    return str(completion[0]["content"])


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a sha256 over chat template, end of turn, special tokens and vocabulary.

    Two models with equal fingerprints read and write the same ids in the same conversations.
    """
    facts = {
        "template": tokenizer.chat_template,
        "end": end_of_turn(tokenizer),
        "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "vocabulary": sorted(tokenizer.get_vocab().items()),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
