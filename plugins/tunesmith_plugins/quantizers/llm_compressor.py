"""GPTQ and AWQ by llm-compressor, which runs in a Python environment of its own.

GPTQ (Frantar et al., ICLR 2023, https://arxiv.org/abs/2210.17323) rounds a matrix column by column
and corrects what is left of it by the inputs' second moments. AWQ (Lin et al., MLSys 2024,
https://arxiv.org/abs/2306.00978) scales the inputs that matter most before all is rounded to the
nearest. Both look at what flows through the model, so both want texts like those it will see.

llm-compressor allows transformers only up to a release that is older than the one used here, so
it cannot be installed beside Tunesmith. A script is run by the other environment's interpreter;
token ids go there, and a folder in compressed-tensors' format comes back.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from tunesmith import ModelError, Outcome, Quantizer, hookimpl
from tunesmith.adapted import refuse_adapted
from tunesmith.model_facts import read_json
from tunesmith.models import check_model, context_length, load_tokenizer
from tunesmith_plugins.quantizers import llm_compressor_calibration as calibrating
from tunesmith_plugins.quantizers.llm_compressor_environment import Environment, interpreter
from tunesmith_plugins.quantizers.llm_compressor_process import run
from tunesmith_plugins.quantizers.llm_compressor_result import take_over

log = logging.getLogger("tunesmith.quantizers")

_WORK = ".llm-compressor"
"""Where the other environment works, inside ``out``: on the disk that has room for a model."""


class LlmCompressor(Quantizer):
    """Round weights by GPTQ or AWQ, with llm-compressor in an environment of its own."""

    name = "llm_compressor"
    engine: ClassVar[str] = "vllm"

    algorithm: Literal["gptq", "awq", "rtn"] = "gptq"
    """`gptq` corrects each column by what the ones before it lost, `awq` scales what matters before
    it rounds, `rtn` rounds to the nearest and looks at no text."""
    scheme: str = Field(default="W4A16", examples=["W8A8"])
    """What is stored and computed with, as compressed-tensors names it: W4A16 is 4-bit weights in
    groups of 128, W8A16 8-bit ones, W8A8 and FP8_DYNAMIC 8-bit weights and activations."""
    calibration: Path | None = None
    """A file of texts like those the model will see: one a line, or JSON lines with `text`,
    `messages`, or `prompt` with `completion`. Without it a dozen built-in prompts are used."""
    samples: int = Field(default=256, ge=1)
    """How many of the texts are used, from the first."""
    max_length: int = Field(default=2048, ge=8)
    """Where a text is cut, in tokens; never beyond the model's context."""
    ignore: tuple[str, ...] = ("lm_head",)
    """Layers that stay as they are: names, or `re:` and a regular expression."""
    python: Path | None = None
    """The interpreter of an environment with llm-compressor; without it, the one that the variable
    TUNESMITH_LLM_COMPRESSOR_PYTHON names."""
    timeout: float = Field(default=21_600, gt=0)
    """Seconds after which the work is given up."""

    @field_validator("scheme")
    @classmethod
    def _as_the_library_spells_it(cls, scheme: str) -> str:
        return scheme.upper()

    def lacks(self) -> list[str]:
        """Say how to make the other environment when it is not there or not usable."""
        try:
            Environment.of(interpreter(self.python))
        except ModelError as error:
            return [str(error)]
        return []

    def problems(self) -> list[str]:
        """Name a calibration file that is not there."""
        if self.calibration is None or self.calibration.is_file():
            return []
        return [f"There is no calibration file {self.calibration}."]

    def fingerprint(self) -> str:
        """Return the texts' digest with the versions of the environment that is used here."""
        environment = Environment.of(interpreter(self.python))
        facts = [calibrating.digest(self.calibration), environment.versions]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def quantize(self, model_dir: Path, out: Path) -> Outcome:
        """Write a compressed-tensors folder: weights, config, ``recipe.yaml``, ``report.json``.

        The tokenizer's files are the parent's, byte for byte. Metrics: ``bytes``,
        ``bits_per_weight``, ``ratio`` to the same weights in fp32, how many matrices are
        ``quantized`` and which are ``kept``, ``samples`` and ``tokens`` of calibration, and the
        other environment's ``versions``. Raises ModelError when that environment is missing, fails,
        takes too long, or leaves something else than a whole model.
        """
        facts = check_model(model_dir)
        refuse_adapted(model_dir, "llm_compressor stores weights")
        _refuse_quantized(model_dir)
        environment = Environment.of(interpreter(self.python))
        texts = self._texts(model_dir)
        out.mkdir(parents=True, exist_ok=True)
        work = out / _WORK
        shutil.rmtree(work, ignore_errors=True)  # of an attempt that was killed
        work.mkdir()
        try:
            run(environment, self._order(model_dir, work, texts), work, self.timeout)
            metrics = take_over(work / "model", model_dir, out, facts.parameters)
        finally:
            shutil.rmtree(work)
        metrics |= {
            "type": f"{self.algorithm} {self.scheme}",
            "samples": len(texts),
            "tokens": sum(map(len, texts)),
            "versions": environment.versions,
        }
        (out / "report.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        return Outcome(metrics=metrics)

    def _texts(self, model_dir: Path) -> list[list[int]]:
        """Return the texts as the model's token ids; none for an algorithm that looks at none."""
        if self.algorithm == "rtn":
            return []
        if self.calibration is None:
            log.warning(
                "%s is calibrated on %d built-in prompts, which are few and may not be like yours;"
                " name a file with `calibration`.",
                self.algorithm,
                len(calibrating.PROMPTS),
            )
        longest = min(self.max_length, context_length(model_dir))
        tokenizer = load_tokenizer(model_dir)
        return calibrating.token_ids(tokenizer, self.calibration, self.samples, longest)

    def _order(self, model_dir: Path, work: Path, texts: list[list[int]]) -> dict[str, Any]:
        return {
            "model": str(model_dir.resolve()),
            "out": str((work / "model").resolve()),
            "algorithm": self.algorithm,
            "scheme": self.scheme,
            "ignore": list(self.ignore),
            "texts": texts,
        }


def _refuse_quantized(model_dir: Path) -> None:
    found = read_json(model_dir / "config.json").get("quantization_config")
    if found:
        raise ModelError(f"{model_dir} is quantized already; quantize the model it is of.")


@hookimpl
def register_quantizers() -> list[type[Quantizer]]:
    """Offer the technique."""
    return [LlmCompressor]
