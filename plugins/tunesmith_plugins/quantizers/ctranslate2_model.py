"""CTranslate2: a folder that its C++ library runs, with weights in int8 or as they are.

int8 stores every matrix, the embedding among them, with one scale per row, 127 divided by the row's
largest weight; the library rounds each token's activations to int8 as it computes
(https://opennmt.net/CTranslate2/quantization.html). Norms and biases stay float32.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tunesmith import ModelError, Outcome, Quantizer, hookimpl
from tunesmith.adapted import refuse_adapted
from tunesmith.int8_weights import mode_of
from tunesmith.model_facts import read_json
from tunesmith.models import check_model, load_model, load_tokenizer
from tunesmith_plugins.quantizers.ctranslate2_layout import described, objections

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FOLDER = "ctranslate2"
_BESIDE = ("config.json", "generation_config.json", "chat_template.*", "tokenizer*", "special_*",
           "vocab.*", "merges.txt", "spiece.model", "added_tokens.json")  # fmt: skip


class CTranslate2Model(Quantizer):
    """Write a CTranslate2 folder, in int8 or float32, with the tokenizer's files beside it."""

    name = "ctranslate2"
    engine: ClassVar[str] = "ctranslate2"
    needs: ClassVar[tuple[str, ...]] = ("ctranslate2",)
    unchanged: ClassVar[dict[str, Any] | None] = {"quantization": "float32"}

    quantization: Literal["int8", "float32"] = "int8"
    """How matrices are stored: int8 (on a CPU the library also calls it int8_float32), or float32,
    which is the model unchanged."""

    def quantize(self, model_dir: Path, out: Path) -> Outcome:
        """Write the folder ``ctranslate2``, ``report.json`` and the tokenizer's files to ``out``.

        Metrics: ``bytes`` of the weights' file, ``bits_per_weight``, ``ratio`` to the same weights
        in fp32. Raises ModelError for an architecture that has no form there, for damaged weights
        (NaN), and for a model that is quantized already.
        """
        facts = check_model(model_dir)
        _refuse(model_dir)
        config = read_json(model_dir / "config.json")
        weights = load_model(model_dir).state_dict()
        tokenizer = load_tokenizer(model_dir)
        spec = described(config, weights, _words(tokenizer, config["vocab_size"]))
        _name_ends(spec.config, tokenizer, config)
        folder = out / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        spec.validate()
        spec.optimize(quantization=self.quantization)
        spec.save(str(folder))
        for pattern in _BESIDE:
            for path in sorted(model_dir.glob(pattern)):
                shutil.copyfile(path, out / path.name)
        metrics = self._measure(folder / "model.bin", facts.parameters)
        (out / "report.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        return Outcome(metrics=metrics)

    def objections(self, model: Path) -> list[str]:
        """Return why a model has no form there; its config alone is read."""
        return objections(read_json(model / "config.json"))

    def _measure(self, path: Path, weights: int) -> dict[str, Any]:
        size = path.stat().st_size
        return {
            "type": f"ctranslate2 {self.quantization}",
            "file": f"{FOLDER}/{path.name}",
            "bytes": size,
            "parameters": weights,
            "bits_per_weight": round(8 * size / weights, 4),
            "ratio": round(size / (4 * weights), 4),
        }


def _refuse(model_dir: Path) -> None:
    refuse_adapted(model_dir, "ctranslate2 stores weights")
    if mode_of(model_dir) is not None:
        raise ModelError(f"{model_dir} has int8 weights already; quantize the model it is of.")
    if found := objections(read_json(model_dir / "config.json")):
        raise ModelError("\n".join(found))


def _words(tokenizer: PreTrainedTokenizerBase, count: int) -> list[str]:
    """Return one distinct string per token id, the tokenizer's own where it has one.

    The library takes prompts as these strings only, and its vocabulary file holds no line break.
    """
    known = {number: word for word, number in tokenizer.get_vocab().items()}
    words = [known.get(number, f"<extra_id_{number}>") for number in range(count)]
    if len(set(words)) < count:
        raise ModelError("The tokenizer gives one name to several ids; CTranslate2 needs distinct.")
    return words


def _name_ends(found: Any, tokenizer: PreTrainedTokenizerBase, config: dict[str, Any]) -> None:
    # A name that is no word of the vocabulary would become one more word than the network has.
    some = tokenizer.convert_ids_to_tokens(0)
    found.bos_token = tokenizer.bos_token or tokenizer.eos_token or some
    found.eos_token = tokenizer.eos_token or some
    found.unk_token = tokenizer.unk_token or some
    found.layer_norm_epsilon = config["rms_norm_eps"]


@hookimpl
def register_quantizers() -> list[type[Quantizer]]:
    """Offer the technique."""
    return [CTranslate2Model]
