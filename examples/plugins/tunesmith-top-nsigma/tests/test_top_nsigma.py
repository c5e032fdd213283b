"""Top-nσ keeps what its paper says, at every temperature."""

import pytest
import torch
from tunesmith_top_nsigma import TopNSigma

LOGITS = torch.randn(3, 500, generator=torch.Generator().manual_seed(4)) * 2


@pytest.mark.parametrize("n", [0.5, 1.0, 2.5])
def test_it_keeps_the_logits_within_n_deviations_of_the_largest(n):
    kept = TopNSigma(n=n)(LOGITS).isfinite()
    for row, mask in zip(LOGITS.double().numpy(), kept, strict=True):
        assert mask.tolist() == (row >= row.max() - n * row.std()).tolist()


def test_the_temperature_changes_nothing_of_what_is_kept():
    kept = TopNSigma()(LOGITS).isfinite()
    assert 3 < int(kept.sum()) < LOGITS.numel() / 2
    for temperature in (0.5, 3.0):
        assert torch.equal(TopNSigma()(LOGITS / temperature).isfinite(), kept)


def test_what_is_masked_already_does_not_count_for_the_deviation():
    masked = LOGITS.clone()
    masked[:, 250:] = float("-inf")
    assert torch.equal(TopNSigma()(masked)[:, :250], TopNSigma()(LOGITS[:, :250]))
