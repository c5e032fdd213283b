"""Halve a model: every weight as bfloat16, the upper half of an fp32 number."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from tunesmith import Outcome, Quantizer, hookimpl, load_model, load_tokenizer, save_model


class Example(Quantizer):
    """Store every weight in 16 bits; the transformers engine runs it."""

    name = "example"
    engine: ClassVar[str] = "transformers"
    dtype: Literal["bfloat16", "float16"] = "bfloat16"
    """Which 16 bits: bfloat16 keeps the range, float16 more digits."""

    def quantize(self, model_dir: Path, out: Path) -> Outcome:
        """Write the smaller model; metrics hold ``bytes`` and ``bits_per_weight``."""
        model = load_model(model_dir)
        count = model.num_parameters()
        save_model(model, load_tokenizer(model_dir), out, self.dtype)
        size = sum(path.stat().st_size for path in out.glob("*.safetensors"))
        return Outcome({"bytes": size, "bits_per_weight": 8 * size / count})


@hookimpl
def register_quantizers() -> list[type[Quantizer]]:
    """Offer the quantizer."""
    return [Example]
