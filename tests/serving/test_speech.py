"""Tokens become text piece by piece; no piece ever has to be taken back."""

from __future__ import annotations

import random

import pytest

from tunesmith import Token, load_tokenizer
from tunesmith.generation.reference import decoder
from tunesmith.generation.token_bytes import TokenBytes
from tunesmith.models import resolve_model
from tunesmith.serving.speech import BROKEN, Piece, Speech

NANO = load_tokenizer(resolve_model("builtin:nano"))
END = NANO.eos_token_id


def spoken(ids: list[int], stops: tuple[str, ...] = ()) -> tuple[list[Piece], Speech]:
    speech = Speech(decoder(NANO), (END,), stops)
    pieces = []
    for one in ids:
        pieces.append(speech.add(Token(one, -1.0)))
        if speech.finish:
            break
    if not speech.finish:
        pieces.append(speech.end("length"))
    return [piece for piece in pieces if piece is not None], speech


def ids_of(text: str) -> list[int]:
    return list(NANO(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("text", ["naïve café", "日本語のテキスト", "a 🤖 and 👩‍🔬!", "a\n\n  b"])
def test_letters_come_whole_and_join_to_the_text(text):
    pieces, speech = spoken(ids_of(text))
    assert "".join(piece.text for piece in pieces) == text == speech.said
    assert not [piece for piece in pieces if BROKEN in piece.text]
    assert len(pieces) > 2


@pytest.mark.parametrize("seed", range(20))
def test_any_tokens_join_to_what_the_tokenizer_makes_of_them_all(seed):
    ids = random.Random(seed).choices(range(3, len(NANO)), k=300)
    pieces, _ = spoken(ids)
    assert "".join(piece.text for piece in pieces) == decoder(NANO)(ids)
    assert [token.id for piece in pieces for token in piece.tokens] == ids


def test_an_end_of_turn_is_no_part_of_the_answer():
    pieces, speech = spoken([*ids_of("Good."), END, *ids_of("More")])
    assert (speech.said, speech.finish) == ("Good.", "stop")
    assert END not in [token.id for piece in pieces for token in piece.tokens]


@pytest.mark.parametrize("stop", ["ter", "water", " wa", "\n", "zzz"])
def test_nothing_of_a_stop_text_is_handed_out(stop):
    text = "The boy drank wat, then water.\nEnd"
    pieces, speech = spoken(ids_of(text), (stop,))
    wanted = text.split(stop)[0]
    assert "".join(piece.text for piece in pieces) == wanted
    assert speech.finish == ("stop" if stop in text else "length")


def test_what_only_looked_like_a_stop_text_is_handed_out_after_all():
    assert "".join(piece.text for piece in spoken(ids_of("a wat"), ("water",))[0]) == "a wat"


def test_tokens_spell_their_bytes_and_bytes_find_their_tokens():
    spelt = TokenBytes(NANO)
    for text in ("日", "€", "é", " word"):
        ids = ids_of(text)
        assert b"".join(map(spelt.of, ids)) == text.encode()
        assert ids in list(spelt.spellings(text.encode(), len(ids)))
    assert list(spelt.spellings(b"", 0)) == [[]]
    assert list(spelt.spellings(b"a", 2)) == []
