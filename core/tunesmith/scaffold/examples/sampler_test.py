"""The sampler keeps what it says."""

import torch

from tunesmith.scaffold.examples.sampler import Example


def test_tokens_below_epsilon_are_ruled_out_and_the_best_one_never_is() -> None:
    """Probabilities 0.6, 0.3 and 0.1."""
    logits = torch.tensor([[0.6, 0.3, 0.1]]).log()
    assert Example(epsilon=0.2)(logits).isfinite().tolist() == [[True, True, False]]
    assert Example(epsilon=0.9)(logits).isfinite().tolist() == [[True, False, False]]
