"""Adapters around training: wrap, merge with proof, save the plain model and the adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.errors import ModelError
from tunesmith.models import save_model
from tunesmith.records import TrainingJob
from tunesmith.training.batches import Size, TokenRows, plan
from tunesmith.training.hardware import best_device

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

AGREEMENT = 0.999
"""Least share of positions at which the merged model's most likely token must be the same."""
_PROOF_TOKENS = 4096


def wrap_model(job: TrainingJob, model: PreTrainedModel) -> Any:
    """Return the model on the best device with what the job's adapter trains.

    An adapter starts from the same random weights for one seed, whatever ran before.
    """
    import torch

    torch.nn.Module.to(model, best_device())
    if job.adapter is None:
        return model
    with torch.random.fork_rng():
        torch.manual_seed(job.seed)
        return job.adapter.wrap(model)


def trainable_parameters(model: Any) -> int:
    """Return how many weights learn."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def save_trained(
    job: TrainingJob,
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    rows: TokenRows,
    dtype: str = "float32",
) -> dict[str, float]:
    """Write the trained model to ``job.out`` and an adapter, if any, to ``job.out/adapter``.

    The adapter is merged in fp32; ``rows`` prove that the merged model says the same. Returns the
    agreement as a metric. Raises ModelError when it is below `AGREEMENT`.
    """
    if job.adapter is None or not hasattr(model, "peft_config"):
        save_model(model, tokenizer, job.out, dtype)
        return {}
    before = _choices(model, rows)
    save_adapter(model, job.out / "adapter")
    merged = job.adapter.merge(model)
    agreement = float((before == _choices(merged, rows)).float().mean())
    if agreement < AGREEMENT:
        raise ModelError(
            f"After merging the {job.adapter.name} adapter only {agreement:.2%} of the most likely"
            f" tokens are the same (at least {AGREEMENT:.1%} must be); nothing was saved."
        )
    save_model(merged, tokenizer, job.out, dtype)
    return {"merge_agreement": agreement}


def _choices(model: Any, rows: TokenRows) -> Tensor:
    """Return the most likely next token at every real position of some rows."""
    import torch

    model.eval()
    found = []
    with torch.no_grad():
        for batch in _proof_batches(rows):
            ids, _ = rows.padded(batch)
            best = model(input_ids=ids.to(model.device), use_cache=False).logits.argmax(-1).cpu()
            lengths = rows.lengths[batch]
            found += [line[:length] for line, length in zip(best, lengths, strict=True)]
    return torch.cat(found)


def _proof_batches(rows: TokenRows) -> list[Any]:
    enough = int(np.searchsorted(np.cumsum(rows.lengths), _PROOF_TOKENS)) + 1
    some = rows.lengths[:enough]
    return [micro for step in plan(some, Size(_PROOF_TOKENS), 0, epochs=1.0) for micro in step]


def save_adapter(model: Any, folder: Path) -> None:
    """Write a PEFT adapter (safetensors) that depends on its weights and options alone."""
    model.save_pretrained(str(folder), safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # Where the base model lay when it was trained is nothing the artifact may depend on.
    config["base_model_name_or_path"] = None
    ordered = {key: sorted(v) if _is_names(v) else v for key, v in sorted(config.items())}
    path.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")


def _is_names(value: Any) -> bool:
    # PEFT keeps module names in sets, whose order changes from process to process.
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
