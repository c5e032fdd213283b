"""Do two tokenizers speak of the same tokens by the same numbers, in every text?

Sizes prove nothing, and neither does an equal vocabulary: other merges or another normaliser cut
the same text into other tokens, and another template writes other conversations. So names, special
tokens, the cutting of probe texts and the writing of probe conversations are compared, in this
order, and the first difference is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from tunesmith.chat import end_of_turn
from tunesmith.errors import ModelError
from tunesmith.records import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBES = (
    "The quick brown fox jumps over the lazy dog.",
    " leading and trailing spaces  and   runs of them ",
    "What is 4078 plus 13? 3.14159, 1,000,000 and 2026-11-24.",
    "It's, they'll, DON'T: CamelCase snake_case UPPER lower",
    "def add(a, b):\n    return a + b  # {x: [1, 2]}\n\n\tx != y && z <= w",
    "na\u00efve caf\u00e9, \u00fcber, ni\u00f1o, cafe\u0301 (decomposed), \ufb01ligature, \u00bd",
    "\u4f60\u597d\uff0c\u4e16\u754c \u041f\u0440\u0438\u0432\u0435\u0442",
    "\u0645\u0631\u062d\u0628\u0627 \u0928\u092e\u0938\u094d\u0924\u0947",
    "\U0001f600\U0001f469\u200d\U0001f680 \u2014 \u201cquoted\u201d \u2026 \u00a0 \r\n end",
    "antidisestablishmentarianism internationalization unbelievably",
    "aaaaaaaa hahahaha ------ ==== .... !!!! 00000000",
    "https://example.org/a/b?c=d&e=%20#f user@example.org",
    "",
)
"""Texts that tokenizers are known to cut differently."""
TALKS: tuple[list[dict[str, str]], ...] = (
    [{"role": "user", "content": "Say kite twice."}],
    [
        {"role": "user", "content": "Say kite."},
        {"role": "assistant", "content": "kite"},
        {"role": "user", "content": " Again,\nplease. "},
    ],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say kite."}],
)
"""Conversations that templates are known to write differently."""
_ROWS = 32
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


def require_same_tokens(
    method: str,
    teacher: PreTrainedTokenizerBase,
    student: PreTrainedTokenizerBase,
    rows: Sequence[Row] = (),
) -> None:
    """Raise ModelError, with the first difference, unless both read and write the same ids.

    The first of ``rows`` are probes too: what is compared is what will be learnt from.
    """
    found = first_difference(teacher, student, rows)
    if found is not None:
        raise ModelError(
            f"{method} compares probabilities token by token, and teacher and student have"
            f" different tokenizers: {found} Give a student with the teacher's tokenizer, leave"
            " `student` out to begin a new one that takes it over, or use the distiller"
            " `sequence`, which works across tokenizers."
        )


def first_difference(
    teacher: PreTrainedTokenizerBase, student: PreTrainedTokenizerBase, rows: Sequence[Row] = ()
) -> str | None:
    """Return the first difference as a sentence, or None."""
    differences = (
        _vocabulary(teacher, student),
        _specials(teacher, student),
        _cutting(teacher, student, rows),
        _template(teacher, student, rows),
    )
    return next((said for some in differences for said in some), None)


def _vocabulary(teacher: Any, student: Any) -> Iterator[str]:
    ours, theirs = (
        sorted((i, t) for t, i in one.get_vocab().items()) for one in (teacher, student)
    )
    for mine, other in zip_longest(ours, theirs):
        if mine != other:
            number = min(pair[0] for pair in (mine, other) if pair is not None)
            yield (
                f"token {number} is {_name(mine, number)} to the teacher and"
                f" {_name(other, number)} to the student."
            )


def _numbered(tokenizer: Any) -> list[tuple[int, str]]:
    return sorted((number, token) for token, number in tokenizer.get_vocab().items())


def _name(pair: tuple[int, str] | None, number: int) -> str:
    return repr(pair[1]) if pair is not None and pair[0] == number else "unknown"


def _specials(teacher: Any, student: Any) -> Iterator[str]:
    for name in _SPECIAL:
        ours, theirs = getattr(teacher, name), getattr(student, name)
        if ours != theirs:
            yield f"the {name} is {ours!r} to the teacher and {theirs!r} to the student."
    if end_of_turn(teacher) != end_of_turn(student):
        yield (
            f"a turn ends with token {end_of_turn(teacher)} to the teacher and"
            f" {end_of_turn(student)} to the student."
        )
    for token in sorted(set(teacher.all_special_tokens) ^ set(student.all_special_tokens)):
        who = "teacher" if token in teacher.all_special_tokens else "student"
        yield f"{token!r} is a special token to the {who} only."


def _cutting(teacher: Any, student: Any, rows: Sequence[Row]) -> Iterator[str]:
    texts = [*PROBES, *(text for row in rows[:_ROWS] for text in _texts(row))]
    for text in texts:
        ours, theirs = (
            one(text, add_special_tokens=False)["input_ids"] for one in (teacher, student)
        )
        if ours != theirs:
            at = next(k for k, (a, b) in enumerate(zip_longest(ours, theirs)) if a != b)
            yield (
                f"the text {_short(text)!r} is cut differently from its token {at} on:"
                f" {_pieces(teacher, ours[at:])} by the teacher and"
                f" {_pieces(student, theirs[at:])} by the student."
            )
    if teacher("a")["input_ids"] != student("a")["input_ids"]:
        yield "only one of them puts a token before (or after) every text, or they put another."


def _pieces(tokenizer: Any, ids: list[int]) -> list[str]:
    pieces: list[str] = tokenizer.convert_ids_to_tokens(ids[:4])
    return pieces


def _texts(row: Row) -> Iterator[str]:
    for column in ("text", "prompt", "completion", "messages"):
        value = row.get(column)
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from (str(turn["content"]) for turn in value if "content" in turn)


def _template(teacher: Any, student: Any, rows: Sequence[Row]) -> Iterator[str]:
    if teacher.chat_template == student.chat_template:
        return
    asked = [row["prompt"] for row in rows[:_ROWS] if isinstance(row.get("prompt"), list)]
    for talk in (*TALKS, *asked):
        ours, theirs = _written(teacher, talk), _written(student, talk)
        if ours != theirs:
            yield (
                f"the chat templates write the same conversation as {_short(ours)!r} (teacher) and"
                f" {_short(theirs)!r} (student)."
            )
    # They may still differ in what no probe shows, such as tools.
    yield "their chat templates differ, although the probes are written alike."


def _written(tokenizer: Any, talk: list[dict[str, str]]) -> str:
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True))
    except TemplateError as error:
        return f"(refused: {error})"


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
