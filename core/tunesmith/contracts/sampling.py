"""What samplers promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith.contracts.rules import (
    Breach,
    Subject,
    must_be_json,
    shown,
    with_torch,
)
from tunesmith.generation.drawing import reads_tokens

if TYPE_CHECKING:
    from torch import Tensor

_ROWS, _VOCABULARY = 4, 50


def _logits() -> Tensor:
    import torch

    return 3 * torch.randn(_ROWS, _VOCABULARY, generator=torch.Generator().manual_seed(7))


def _tokens(rows: int) -> list[list[int]]:
    return [[3 + row, 7, 7, 1 + row][: 2 + row % 3] for row in range(rows)]


def _ask(sampler: Any, logits: Tensor, tokens: list[list[int]] | None = None) -> Tensor:
    if reads_tokens(sampler):
        out = sampler(logits, _tokens(len(logits)) if tokens is None else tokens)
    else:
        out = sampler(logits)
    return _checked(out, logits)


def _checked(out: Any, logits: Tensor) -> Tensor:
    import torch

    if not isinstance(out, torch.Tensor):
        raise Breach(f"must return a tensor of logits; it returned {shown(out)}")
    if out.shape != logits.shape:
        raise Breach(
            f"must return logits of the shape it was given, (batch, vocabulary)"
            f" {tuple(logits.shape)}; it returned {tuple(out.shape)}"
        )
    return out


def keeps_the_shape(subject: Subject) -> None:
    """It returns a tensor of the shape it was given, for one row and for several."""
    sampler = subject.build()
    _ask(sampler, _logits())
    _ask(sampler, _logits()[:1])


def keeps_the_type(subject: Subject) -> None:
    """It returns floats of the precision it was given."""
    out = _ask(subject.build(), _logits())
    if out.dtype != _logits().dtype:
        raise Breach(f"must return float32 for float32; it returned {out.dtype}")


def gives_numbers(subject: Subject) -> None:
    """It returns no NaN and no +inf, even for flat, extreme or partly masked logits."""
    import torch

    flat, steep = torch.zeros(1, _VOCABULARY), torch.linspace(-1e4, 1e4, _VOCABULARY)[None]
    masked = _logits()[:1].clone()
    masked[:, 5:] = float("-inf")
    cases = {"flat": flat, "very steep": steep, "partly masked": masked, "usual": _logits()}
    for name, logits in cases.items():
        out = _ask(subject.build(), logits.clone())
        if bool((out.isnan() | out.isposinf()).any()):
            raise Breach(f"returned NaN or +inf for {name} logits; masked tokens are -inf")


def leaves_a_token(subject: Subject) -> None:
    """Every row keeps at least one finite logit."""
    import torch

    for logits in (_logits(), torch.zeros(2, _VOCABULARY)):
        kept = _ask(subject.build(), logits).isfinite().any(dim=-1)
        if not bool(kept.all()):
            row = int((~kept).nonzero()[0])
            raise Breach(f"ruled out every token of row {row}; keep at least the largest logit")


def leaves_its_input_alone(subject: Subject) -> None:
    """It changes neither the logits nor the tokens that it is given."""
    logits, tokens = _logits(), _tokens(_ROWS)
    _ask(subject.build(), logits, tokens)
    if not bool((logits == _logits()).all()):
        raise Breach("changed the logits it was given; return new ones (masked_fill, not _fill_)")
    if tokens != _tokens(_ROWS):
        raise Breach("changed the tokens it was given; they are the text so far")


def treats_rows_apart(subject: Subject) -> None:
    """A row's result does not depend on the other rows of the batch."""
    import torch

    sampler, logits, tokens = subject.build(), _logits(), _tokens(_ROWS)
    together = _ask(sampler, logits.clone(), tokens)
    for row in range(_ROWS):
        alone = _ask(sampler, logits[row : row + 1].clone(), tokens[row : row + 1])[0]
        if not torch.allclose(alone, together[row], rtol=1e-5, atol=1e-5):
            raise Breach(
                f"gave row {row} another result alone than in a batch of {_ROWS}; reduce over the"
                " last dimension only (dim=-1)"
            )


def gives_the_same_again(subject: Subject) -> None:
    """The same logits give the same result; chance comes in later, from the seed."""
    sampler = subject.build()
    first = _ask(sampler, _logits())
    if not all(bool((_ask(sampler, _logits()) == first).all()) for _ in range(3)):
        raise Breach("gave another result for the same logits; drawing is not a sampler's business")


def speaks_to_engines(subject: Subject) -> None:
    """engine_options(engine) returns a dict of JSON values, or None where it cannot be said."""
    sampler = subject.build()
    for engine in ("llamacpp", "vllm", "transformers", "an engine nobody knows"):
        said = sampler.engine_options(engine)
        if said is not None and not isinstance(said, dict):
            raise Breach(f"must return a dict or None from engine_options; got {shown(said)}")
        must_be_json(said, "what engine_options returns")
        if said is not None and engine.startswith("an engine"):
            raise Breach("claims to know every engine; return None for those it does not know")


SAMPLER = tuple(
    with_torch(check)
    for check in (
        keeps_the_shape,
        keeps_the_type,
        gives_numbers,
        leaves_a_token,
        leaves_its_input_alone,
        treats_rows_apart,
        gives_the_same_again,
        speaks_to_engines,
    )
)
