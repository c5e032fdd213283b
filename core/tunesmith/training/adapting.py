"""Adapters around training: wrap, merge with proof, save the plain model and the adapter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith import adapted
from tunesmith.errors import ModelError
from tunesmith.generation.virtual import virtual_tokens
from tunesmith.models import context_length, load_model, save_model, weights_digest
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

    An adapter starts from the same random weights for one seed, whatever ran before. Raises
    ModelError for a model that has an adapter already.
    """
    import torch

    if hasattr(model, "get_base_model"):
        raise ModelError(
            f"{job.model_dir} cannot be trained further: its adapter is not part of its weights."
            " Start from the model it was learnt on (the folder base/ in it), or tune with an"
            " adapter that can be merged: lora, dora, rslora, ia3."
        )
    torch.nn.Module.to(model, best_device())
    if job.adapter is None:
        return model
    with torch.random.fork_rng():
        torch.manual_seed(job.seed)
        wrapped = job.adapter.wrap(model)
    if not job.adapter.mergeable and wrapped.peft_type.value not in adapted.PEFT_TYPES:
        raise ModelError(
            f"No engine runs a model with {job.adapter.name} unmerged; the reference engine knows"
            f" {', '.join(adapted.PEFT_TYPES)}."
        )
    return wrapped


def trainable_parameters(model: Any) -> int:
    """Return how many weights learn."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def longest_row(job: TrainingJob) -> int:
    """Return the longest row a job can train on, in tokens; some adapters take room themselves.

    Raises ModelError when nothing is left.
    """
    if job.model_dir is None:
        raise ModelError("There is no model whose context could be known.")
    context, taken = context_length(job.model_dir), job.adapter.positions if job.adapter else 0
    if taken >= context:
        raise ModelError(f"{taken} virtual tokens leave no room in a context of {context}.")
    return context - taken


def save_trained(
    job: TrainingJob,
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    rows: TokenRows,
    dtype: str = "float32",
) -> dict[str, float]:
    """Write the trained model to ``job.out`` and an adapter, if any, to ``job.out/adapter``.

    The adapter is merged in fp32; ``rows`` prove that the merged model says the same. One that
    cannot be merged stands beside its base (see `adapted`); the same rows prove that the folder,
    read again, says the same. Returns the agreement as a metric. Raises ModelError when it is below
    `AGREEMENT`.
    """
    if job.adapter is None or not hasattr(model, "peft_config"):
        save_model(model, tokenizer, job.out, dtype)
        return {}
    if not job.adapter.mergeable:
        return _save_beside(job, model, tokenizer, rows, dtype)
    before = _choices(model, rows)
    save_adapter(model, job.out / adapted.ADAPTER)
    merged = job.adapter.merge(model)
    agreement = float((before == _choices(merged, rows)).float().mean())
    _require_agreement(agreement, f"After merging the {job.adapter.name} adapter")
    save_model(merged, tokenizer, job.out, dtype)
    return {"merge_agreement": agreement}


def _save_beside(
    job: TrainingJob, model: Any, tokenizer: PreTrainedTokenizerBase, rows: TokenRows, dtype: str
) -> dict[str, float]:
    """Write base and adapter side by side, and prove that they are read as one model."""
    import torch

    inner, base = model.get_base_model(), job.out / adapted.BASE
    save_model(inner, tokenizer, base, dtype)
    for path in sorted(base.iterdir()):
        if path.suffix != ".safetensors" and not path.name.endswith(".index.json"):
            shutil.copyfile(path, job.out / path.name)
    save_adapter(model, job.out / adapted.ADAPTER)
    # Asked only now: what is on disk is the base as rounded to ``dtype``.
    torch.nn.Module.to(inner, torch.float32)
    before, kind = _choices(model, rows), str(job.adapter.name if job.adapter else "")
    peft_type, tokens = model.peft_type.value, virtual_tokens(model)
    adapted.write_marker(job.out, adapted.Adapted(kind, peft_type, tokens, weights_digest(base)))
    after = load_model(job.out)
    torch.nn.Module.to(after, inner.device)
    agreement = float((before == _choices(after, rows)).float().mean())
    if agreement < AGREEMENT:
        (job.out / adapted.MARKER).unlink()
    _require_agreement(agreement, f"Read again with its {kind} adapter")
    return {"reload_agreement": agreement}


def _require_agreement(agreement: float, when: str) -> None:
    if agreement < AGREEMENT:
        raise ModelError(
            f"{when} only {agreement:.2%} of the most likely tokens are the same (at least"
            f" {AGREEMENT:.1%} must be); no model was saved."
        )


def _choices(model: Any, rows: TokenRows) -> Tensor:
    """Return the most likely next token at every real position of some rows."""
    import torch

    model.eval()
    found = []
    with torch.no_grad():
        for batch in _proof_batches(rows):
            ids, _ = rows.padded(batch)
            logits = model(input_ids=ids.to(model.device), use_cache=False).logits
            # Virtual tokens have logits too, before those of the row.
            best = logits[:, -ids.shape[1] :].argmax(-1).cpu()
            lengths = rows.lengths[batch]
            found += [line[:length] for line, length in zip(best, lengths, strict=True)]
    return torch.cat(found)


def _proof_batches(rows: TokenRows) -> list[Any]:
    import numpy as np

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
