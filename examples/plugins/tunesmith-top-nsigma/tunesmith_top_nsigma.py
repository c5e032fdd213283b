"""Top-nσ sampling (Tang et al. 2024, "Top-nσ: Not All Logits Are You Need", arXiv 2411.07641)."""

from pydantic import Field

from tunesmith import Sampler, hookimpl


class TopNSigma(Sampler):
    """Keep logits within n standard deviations of the largest, whatever the temperature."""

    name = "top_nsigma"
    n: float = Field(default=1.0, gt=0)
    """How many standard deviations of the row's logits; the paper uses 1."""

    def __call__(self, logits):
        """Return the logits with all others at -inf, shape (batch, vocabulary)."""
        finite = logits.where(logits.isfinite(), logits.new_tensor(float("nan")))
        mean = finite.nanmean(-1, keepdim=True)
        sigma = (finite - mean).square().nanmean(-1, keepdim=True).sqrt()
        return logits.masked_fill(logits < logits.amax(-1, True) - self.n * sigma, float("-inf"))


@hookimpl
def register_samplers():
    return [TopNSigma]
