"""The script that another environment's interpreter runs; nothing of Tunesmith is there.

``python -I llm_compressor_child.py order.json``. It reads the order, quantizes, and writes the
model where the order says. What it prints is its log; the exit code is 0 when all went well.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Any, NoReturn

REFUSED = 3
"""The exit code when the last line of the log is a reason that needs no traceback."""


def main() -> None:
    """Do what the order says."""
    threading.Thread(target=_end_with_owner, daemon=True).start()
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123
        order = json.load(file)
    scheme = _scheme(order["scheme"])
    model = _load(order["model"])
    _check_rows(model, order["ignore"], getattr(scheme.get("weights"), "group_size", None))
    _quantize(model, order)
    model.save_pretrained(order["out"], save_compressed=True)


def _end_with_owner() -> None:
    """End this process and its children when the one that started it is gone."""
    # A read of the descriptor: a thread inside sys.stdin's lock would abort the interpreter's end.
    while os.read(0, 1024):
        continue
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _refuse(reason: str) -> NoReturn:
    print(reason, flush=True)  # noqa: T201
    sys.exit(REFUSED)


def _scheme(name: str) -> dict[str, Any]:
    from compressed_tensors.quantization.quant_scheme import PRESET_SCHEMES

    if name not in PRESET_SCHEMES:
        _refuse(f"there is no scheme {name!r}. Schemes: {', '.join(sorted(PRESET_SCHEMES))}")
    scheme: dict[str, Any] = PRESET_SCHEMES[name]
    return scheme


def _check_rows(model: Any, ignore: list[str], group: int | None) -> None:
    """Refuse layers that groups do not fill; the library fails in the midst of the work."""
    from compressed_tensors.utils import match_named_modules

    if not group:
        return
    layers = match_named_modules(model, ["Linear"], ignore)
    odd = [f"{name} ({one.in_features})" for name, one in layers if one.in_features % group]
    if odd:
        more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        _refuse(
            f"rows of these layers do not divide into groups of {group}:"
            f" {', '.join(odd[:3])}{more}. Add them to `ignore`, or choose a scheme without groups"
            " such as W8A8 or FP8_DYNAMIC."
        )


def _load(folder: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    return AutoModelForCausalLM.from_pretrained(
        folder,
        dtype="auto",
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )


def _quantize(model: Any, order: dict[str, Any]) -> None:
    from llmcompressor import oneshot

    _spare_pinning()
    how: dict[str, Any] = {"model": model, "tokenizer": order["model"], "recipe": _recipe(order)}
    if order["texts"]:
        how |= _calibration(order["texts"])
    oneshot(**how)


def _calibration(texts: list[list[int]]) -> dict[str, Any]:
    """Return the texts as token ids, one at a time and in order, so that nothing is padded."""
    from datasets import Dataset

    masks = [[1] * len(ids) for ids in texts]
    return {
        "dataset": Dataset.from_dict({"input_ids": texts, "attention_mask": masks}),
        "num_calibration_samples": len(texts),
        "max_seq_length": max(map(len, texts)),
        "shuffle_calibration_samples": False,
        "batch_size": 1,
    }


def _recipe(order: dict[str, Any]) -> list[Any]:
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    what = {"targets": "Linear", "scheme": order["scheme"], "ignore": order["ignore"]}
    if order["algorithm"] == "gptq":
        return [GPTQModifier(**what)]
    before = [AWQModifier()] if order["algorithm"] == "awq" else []
    return [*before, QuantizationModifier(**what)]


def _spare_pinning() -> None:
    """Leave out what only speeds up copies to a GPU, and fails where there is none (0.14.0.1)."""
    import torch
    from llmcompressor.pipelines.cache import IntermediatesCache

    if not torch.accelerator.is_available():
        IntermediatesCache.pin_memory = lambda *_args, **_options: None


if __name__ == "__main__":
    main()
