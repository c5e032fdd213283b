"""Model folders whose adapter is no change of weights: how they are laid out and recognised.

Virtual tokens (prompt and prefix tuning) cannot be merged, so such a folder looks like this::

    adapter.json                what it is; without it the folder is no model at all
    base/                       the model they were learnt on, an ordinary folder, unchanged
    adapter/                    the virtual tokens as PEFT stores them (safetensors)
    config.json, tokenizer ...  copies from base/, for readers that want no weights

No weights lie at the top: whoever knows nothing of adapters finds none and fails, where it would
otherwise run the base without what was learnt. An ordinary folder may hold ``adapter/`` too, as a
record of what was merged into its weights; it has no ``adapter.json``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MARKER, BASE, ADAPTER = "adapter.json", "base", "adapter"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PEFT_TYPES = ("PROMPT_TUNING", "PREFIX_TUNING")
"""What the decoding loop knows to place before a prompt (see `generation.virtual`)."""


@dataclass(frozen=True, slots=True)
class Adapted:
    """What ``adapter.json`` says; ``base_digest`` is `models.weights_digest` of ``base/``."""

    kind: str
    """The technique's name."""
    peft_type: str
    virtual_tokens: int
    base_digest: str


def read_marker(folder: Path) -> Adapted | None:
    """Return what stands beside the base, None for an ordinary folder; ModelError if damaged."""
    path = folder / MARKER
    if not path.is_file():
        return None
    try:
        found = Adapted(**json.loads(path.read_text(encoding="utf-8")))
        known = found.peft_type in PEFT_TYPES and int(found.virtual_tokens) > 0
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path} is damaged: {error}.") from error
    if not known:
        raise ModelError(
            f"{path} names {found.virtual_tokens} virtual tokens of the kind {found.peft_type!r};"
            f" known kinds: {', '.join(PEFT_TYPES)}."
        )
    return found


def write_marker(folder: Path, found: Adapted) -> None:
    """Write ``adapter.json``; last, so that a folder cut short is no model."""
    (folder / MARKER).write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files a model is made of, in the order of their names."""
    if (folder / MARKER).is_file():
        return [*sorted((folder / BASE).glob("*.safetensors")), folder / ADAPTER / WEIGHTS]
    return sorted(folder.glob("*.safetensors"))


def problems_of(folder: Path, found: Adapted) -> list[str]:
    """Return why the adapter cannot be used, one sentence each; reads JSON only."""
    problems = []
    loose = sorted(path.name for path in folder.glob("*.safetensors"))
    if loose:
        problems.append(
            f"{folder} has weights of its own ({loose[0]}) beside those in {BASE}/, so it is two"
            f" models at once. Remove {loose[0]}, or {MARKER} and the folders it speaks of."
        )
    if not (folder / ADAPTER / WEIGHTS).is_file():
        problems.append(
            f"{folder / ADAPTER} lacks {WEIGHTS}, without which {BASE}/ is another model."
        )
    return problems + _contradictions(folder / ADAPTER / CONFIG, found)


def _contradictions(path: Path, found: Adapted) -> list[str]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        kind, tokens = said.get("peft_type"), said.get("num_virtual_tokens")
    except (OSError, ValueError, AttributeError) as error:
        return [f"{path} cannot be read: {error}."]
    if (kind, tokens) == (found.peft_type, found.virtual_tokens):
        return []
    return [
        f"{path} describes {tokens} tokens of {kind}, and {MARKER} {found.virtual_tokens} of"
        f" {found.peft_type}; one of them belongs to another model."
    ]


def attach(base: PreTrainedModel, folder: Path, found: Adapted, digest: str) -> Any:
    """Return the base with the folder's adapter, in evaluation mode.

    ``digest`` is that of the base at hand. Raises ModelError when the adapter was learnt on another
    one, has other shapes, or holds NaN.
    """
    from peft import PeftModel

    if digest != found.base_digest:
        raise ModelError(
            f"The {found.kind} adapter in {folder} was learnt on another base than {folder / BASE}"
            f" holds ({found.base_digest[:12]}, not {digest[:12]}). Put back the base it came with."
        )
    try:
        model = PeftModel.from_pretrained(base, str(folder / ADAPTER)).eval()
        _try_out(model)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(
            f"The adapter in {folder} does not fit its base: {str(error).strip().splitlines()[0]}"
        ) from error
    for name, parameter in model.prompt_encoder.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise ModelError(f"{folder}: {name} of the adapter holds NaN or infinity.")
    return model


def _try_out(model: Any) -> None:
    """Raise what running the model raises; PEFT compares no shapes when it reads an adapter."""
    import torch

    layers, learnt = model.config.get_text_config().num_hidden_layers, model.active_peft_config
    if learnt.num_layers != layers:
        raise ValueError(f"it was learnt on {learnt.num_layers} layers, and the base has {layers}")
    with torch.no_grad():
        model(input_ids=torch.zeros(1, 1, dtype=torch.long), use_cache=False)


def refuse_adapted(folder: Path, what: str) -> None:
    """Raise ModelError for a folder with an adapter; ``what`` says who needs an ordinary one."""
    found = read_marker(folder)
    if found is not None:
        raise ModelError(f"{what}: {folder} is a {found.kind} model. {reason(found.kind)}")


def reason(kind: str) -> str:
    """Return why an adapter keeps a model on the reference engine, and the way out."""
    return (
        f"What {kind} learns are virtual tokens before the prompt, which cannot be merged into the"
        " weights, so the model runs on the engine transformers only and is not exported. Use an"
        " adapter that can be merged (lora, dora, rslora, ia3) where more is to follow."
    )
