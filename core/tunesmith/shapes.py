"""The shapes in which people keep training data, turned into the rows Tunesmith works with.

Recognised beside TRL's own types: chat ``messages``, ShareGPT ``conversations``, Alpaca
``instruction/input/output``, instruction/response, question/answer, prompt/response,
``Human:/Assistant:`` transcripts (in ``text`` or in ``chosen``/``rejected``), plain ``text``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tunesmith.errors import DataError, did_you_mean
from tunesmith.mapping import mapped
from tunesmith.records import Message, Row
from tunesmith.rows import COLUMNS, EXTRAS, check_row, to_conversational

QUESTIONS: tuple[str, ...] = ("prompt", "instruction", "question", "query")
ANSWERS: tuple[str, ...] = ("completion", "response", "output", "answer")
_ROLES = {
    "human": "user", "user": "user", "prompter": "user", "system": "system", "gpt": "assistant",
    "chatgpt": "assistant", "assistant": "assistant", "bot": "assistant", "model": "assistant",
}  # fmt: skip
_TURN = re.compile(r"(?:^|\n\n)\s*(?:### ?)?(Human|Assistant): ?")


class UnknownShapeError(DataError):
    """Raised when the columns of a record fit no shape; the message suggests a mapping."""


def convert(
    record: Mapping[str, Any], place: str = "", columns: Mapping[str, str] | None = None
) -> Row:
    """Return a record as a checked conversational row; raise DataError that says how to map it."""
    if columns:
        record = mapped(record, columns, place)
    known = {str(name).strip().lower(): value for name, value in record.items()}
    row = _shaped(known, place)
    if row is None:
        raise UnknownShapeError(_unrecognised(record, place))
    row = to_conversational(row) | _extras(known, {t.partition(".")[0] for t in columns or ()})
    check_row(row, place)
    return row


def _extras(record: Row, meant: set[str]) -> Row:
    """Return the extra columns that hold what their names promise; whole numbers may be names.

    Strangers use the same words for other things, so only a column named in the mapping is kept
    whatever it holds, for the check to refuse.
    """
    kept = {}
    for name in EXTRAS:
        value = record.get(name)
        if name in ("id", "group") and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        fits = isinstance(value, dict if name == "reference" else str) and value
        if fits or (name in meant and value is not None):
            kept[name] = value
    return kept


def _shaped(record: Row, place: str) -> Row | None:
    if "chosen" in record and "rejected" in record:
        return _preference(record, place)
    turns = record.get("messages", record.get("conversations"))
    if isinstance(turns, list):
        return _conversation(messages(turns, place), place)
    asked, answer = _question(record, place), next((c for c in ANSWERS if c in record), None)
    if isinstance(asked, dict):
        return None
    if asked is not None and answer is not None:
        return _answered(record, asked, answer, place)
    if "prompt" in record or ("question" in record and answer is None):
        return {"prompt": asked}
    return _text(record["text"]) if "text" in record else None


def _question(record: Row, place: str) -> Any:
    """Return what is asked: a string, a list of messages, or None when no column holds it."""
    column = next((c for c in QUESTIONS if c in record), None)
    if column is None:
        return None
    asked = record[column]
    if isinstance(asked, list):
        return messages(asked, place)
    if column == "instruction" and isinstance(asked, str):
        more = record.get("input")
        return f"{asked}\n\n{more}" if isinstance(more, str) and more.strip() else asked
    if asked is None:
        raise DataError(f"{place}: column {column!r} is null.".removeprefix(": "))
    return transcript(asked) or asked if isinstance(asked, str) else asked


def _answered(record: Row, asked: Any, column: str, place: str) -> Row:
    row = {"prompt": asked, "completion": _answer(record[column], column, place)}
    if column == "completion" and "label" in record:
        row["label"] = _label(record["label"])
    return row


def _label(value: Any) -> Any:
    said = str(value).strip().lower()
    return {"true": True, "1": True, "false": False, "0": False}.get(said, value)


def _answer(value: Any, column: str, place: str) -> Any:
    """Return an answer as text or as messages; raise DataError when it is null."""
    if value is None:
        raise DataError(
            f"{place}: column {column!r} is null. Map another column with `columns`, or leave such"
            " rows out with `bad_rows: skip`."
        )
    if isinstance(value, dict):
        return messages([value], place)
    return messages(value, place) if isinstance(value, list) else value


def _preference(record: Row, place: str) -> Row:
    """Return a preference row; the prompt may stand apart or at the head of both answers."""
    sides = {c: _answer(record[c], c, place) for c in ("chosen", "rejected")}
    turns = record.get("conversations", record.get("messages"))
    asked = messages(turns, place) if isinstance(turns, list) else _question(record, place)
    if asked is not None and all(isinstance(s, str) or len(s) == 1 for s in sides.values()):
        return {"prompt": asked, **sides}
    both = {c: transcript(s) if isinstance(s, str) else s for c, s in sides.items()}
    return _implicit(both["chosen"], both["rejected"], place)


def _implicit(chosen: list[Message] | None, rejected: list[Message] | None, place: str) -> Row:
    if not chosen or not rejected:
        raise DataError(
            f"{place}: there is no prompt: chosen and rejected are neither conversations nor"
            " 'Human: ... Assistant: ...' transcripts. Name the prompt: columns: {prompt: COLUMN}."
        )
    if chosen[:-1] != rejected[:-1]:
        raise DataError(f"{place}: chosen and rejected differ before their last turn.")
    return {"prompt": chosen[:-1], "chosen": chosen[-1:], "rejected": rejected[-1:]}


def _conversation(turns: list[Message], place: str) -> Row:
    """Return the last assistant turn as the completion of all turns before it."""
    if turns and turns[-1]["role"] == "assistant":
        return {"prompt": turns[:-1], "completion": turns[-1:]}
    return {"prompt": turns}


def _text(value: Any) -> Row:
    turns = transcript(value) if isinstance(value, str) else None
    return _conversation(turns, "") if turns and len(turns) > 1 else {"text": value}


def messages(turns: list[Any], place: str) -> list[Message]:
    """Return turns as messages, whether they say role/content or from/value."""
    found = []
    for at, turn in enumerate(turns):
        said = isinstance(turn, dict) and turn.get("role", turn.get("from"))
        if not isinstance(said, str) or not ("content" in turn or "value" in turn):
            raise DataError(
                f"{place}: turn {at + 1} must have role and content, or from and value."
            )
        role = _ROLES.get(said.strip().lower())
        if role is None:
            hint = did_you_mean(said, _ROLES)
            raise DataError(f"{place}: turn {at + 1} has the unknown role {said!r}.{hint}")
        found.append({"role": role, "content": turn.get("content", turn.get("value"))})
    return found


def transcript(text: str) -> list[Message] | None:
    """Return the turns of a ``Human: ... Assistant: ...`` transcript, or None if it is none."""
    parts = _TURN.split(text)
    if len(parts) < 3 or parts[1] != "Human" or (parts[0].strip() and len(parts) < 5):
        return None
    turns: list[Message] = []
    if parts[0].strip():
        turns.append({"role": "system", "content": parts[0].strip()})
    for speaker, said in zip(parts[1::2], parts[2::2], strict=True):
        role = _ROLES[speaker.lower()]
        if turns and turns[-1]["role"] == role:  # some speakers take two turns in a row
            turns[-1]["content"] += f"\n\n{said.strip()}"
        else:
            turns.append({"role": role, "content": said.strip()})
    return turns


def _unrecognised(record: Mapping[str, Any], place: str) -> str:
    """Say which columns there are, which types were close, and which mapping would help."""
    names = [str(name) for name in record]
    close = [f"{kind} lacks {', '.join(lacks)}" for kind, lacks in _lacking(record)]
    head = f"{place}: " if place else ""
    return (
        f"{head}no known shape fits the columns {', '.join(names) or '(none)'}."
        f" Nearest types: {'; '.join(close)}. Say which column is which, for example"
        f" columns: {{{_example(record)}}}."
    )


def _lacking(record: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    have = {str(name).lower() for name in record}
    if have & set(QUESTIONS):
        have.add("prompt")
    if have & set(ANSWERS):
        have.add("completion")
    gaps = [(kind, [c for c in needed if c not in have]) for kind, needed in COLUMNS.items()]
    found = sorted((gap for gap in gaps if gap[1]), key=lambda gap: len(gap[1]))
    return found[:3]


def _example(record: Mapping[str, Any]) -> str:
    """Return the mapping that the names of the texts in a record, or their order, suggest."""
    leaves = dict(_leaves(record, "", 0))
    question = _likely(leaves, QUESTIONS)
    leaves.pop(question, None)
    answer = _likely(leaves, ANSWERS)
    return f"prompt: {question or 'COLUMN'}" + (f", completion: {answer}" if answer else "")


def _likely(leaves: dict[str, str], names: tuple[str, ...]) -> str:
    named = (p for p in leaves if p.rsplit(".", 1)[-1].lower().startswith(names))
    phrases = (path for path, text in leaves.items() if " " in text.strip())
    return next(named, next(phrases, ""))


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield the path and the text of every text inside; of a list only the first element."""
    if isinstance(value, str) and path:
        yield path, value
    inside: Mapping[str, Any] = {"0": value[0]} if isinstance(value, list) and value else {}
    for name, child in (value if isinstance(value, Mapping) else inside).items():
        if depth < 4:
            yield from _leaves(child, f"{path}.{name}" if path else str(name), depth + 1)
