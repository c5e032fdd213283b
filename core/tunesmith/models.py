"""Model folders in Hugging Face layout: find, check, load and save them.

Only safetensors weights are read (a pickle can run code when it is opened), no code that comes with
a model ever runs, and a checkpoint that does not fill every parameter is refused.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith import adapted, chat, int4_weights, int8_weights
from tunesmith.errors import ModelError
from tunesmith.model_facts import ModelFacts, inspect_model, no_weights

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "ModelFacts",
    "check_model",
    "context_length",
    "inspect_model",
    "load_model",
    "load_tokenizer",
    "parameter_count",
    "resolve_model",
    "save_model",
    "weights_digest",
]

ASSETS = Path(__file__).parent / "assets"
BUILTIN = ("nano", "nano-draft")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_FILES = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]


def check_model(folder: Path) -> ModelFacts:
    """Return the folder's facts; raise ModelError with every reason why it cannot be used."""
    facts = inspect_model(folder)
    if facts.problems:
        raise ModelError("\n".join(facts.problems))
    return facts


def load_model(
    folder: Path, dtype: str | torch.dtype = "float32", attention: str | None = None
) -> PreTrainedModel:
    """Load a causal language model on the CPU (int4 weights: on the GPU), in evaluation mode.

    ``dtype`` is a torch dtype or its name, ``attention`` one of transformers' implementations.
    Raises ModelError when the folder is unsafe or incomplete, when weights are missing or of the
    wrong shape, or hold NaN or infinity.

    A folder whose adapter cannot be merged (see `adapted`) gives a PEFT model, base and adapter
    together; generation and scoring know how to run it, training and export refuse it.
    """
    check_model(folder)
    beside = adapted.read_marker(folder)
    if beside is None:
        return _load_plain(folder, dtype, attention)
    base = folder / adapted.BASE
    whole: PreTrainedModel = adapted.attach(
        _load_plain(base, dtype, attention), folder, beside, weights_digest(base)
    )
    return whole


def _load_plain(
    folder: Path, dtype: str | torch.dtype, attention: str | None = None
) -> PreTrainedModel:
    import torch
    from transformers import AutoModelForCausalLM

    wanted = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    if mode := int8_weights.mode_of(folder):
        return int8_weights.load(folder, mode, wanted, attention)
    if group := int4_weights.group_of(folder):
        return int4_weights.load(folder, group, wanted, attention)
    loader: Any = AutoModelForCausalLM
    try:
        with _no_progress_bar():
            model, info = loader.from_pretrained(
                str(folder),
                dtype=wanted,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                **({"attn_implementation": attention} if attention else {}),
            )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise ModelError(f"{folder} could not be loaded: {_first_line(error)}") from error
    _check_loaded(folder, model, info)
    loaded: PreTrainedModel = model.eval()
    return loaded


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _check_loaded(folder: Path, model: PreTrainedModel, info: dict[str, Any]) -> None:
    # transformers fills what a file lacks with random numbers and only warns.
    missing = sorted(info.get("missing_keys", ()))
    wrong = sorted(str(item) for item in info.get("mismatched_keys", ()))
    if missing or wrong:
        raise ModelError(
            f"{folder} does not fill the model that its config.json describes:"
            f" {len(missing)} tensors are missing, {len(wrong)} have another shape"
            f" (first: {(missing + wrong)[0]}). Use the config.json the weights were saved with."
        )
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise ModelError(f"{folder}: the weights of {name} hold NaN or infinity.")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer; one without a chat template gets Tunesmith's plain one (see `chat`).

    The folder holds a model, or a GGUF file with the tokenizer beside it. Raises ModelError when it
    is unsafe or has no tokenizer.
    """
    from transformers import AutoTokenizer

    facts = _speaking(folder)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = _first_line(error)
        raise ModelError(f"The tokenizer in {folder} could not be loaded: {reason}") from error
    if len(tokenizer) > facts.vocab:
        raise ModelError(
            f"The tokenizer in {folder} has {len(tokenizer)} tokens and the model only"
            f" {facts.vocab}. Use the tokenizer the model was trained with."
        )
    chat.ensure_template(tokenizer)
    return tokenizer


def _speaking(folder: Path) -> ModelFacts:
    """Return the facts of a folder whose tokenizer can be used, whatever holds its weights."""
    facts = inspect_model(folder)
    others = [*folder.glob("*.gguf"), *folder.glob("*/model.bin"), *folder.glob("model.bin")]
    foreign = {no_weights(folder)} if others else set()
    if problems := [problem for problem in facts.problems if problem not in foreign]:
        raise ModelError("\n".join(problems))
    return facts


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    out: Path,
    dtype: str | torch.dtype | None = None,
) -> None:
    """Write weights (safetensors), config and tokenizer; the same model gives the same bytes.

    ``dtype`` casts the model itself, not a copy, before it is written. Raises ModelError for a
    model with an adapter, of which only the adapter would be written.
    """
    import torch

    if hasattr(model, "get_base_model"):
        raise ModelError("A model with an adapter is saved by `training.adapting.save_trained`.")
    out.mkdir(parents=True, exist_ok=True)
    if dtype is not None:
        torch.nn.Module.to(model, getattr(torch, dtype) if isinstance(dtype, str) else dtype)
    with _no_progress_bar():
        model.save_pretrained(str(out))
    tokenizer.save_pretrained(str(out))


def parameter_count(folder: Path) -> int:
    """Return the number of weights, read from the safetensors headers; tied ones count once."""
    return check_model(folder).parameters


def weights_digest(folder: Path) -> str:
    """Return a sha256 over the weight files and the config, in the order of their names."""
    hasher = hashlib.sha256()
    for path in [folder / "config.json", *adapted.weight_files(folder)]:
        with path.open("rb") as file:
            hasher.update(hashlib.file_digest(file, "sha256").digest())
    return hasher.hexdigest()


def context_length(folder: Path) -> int:
    """Return the longest sequence, in tokens; ModelError when the config does not say."""
    context = inspect_model(folder).context
    if context is None:
        raise ModelError(
            f"{folder / 'config.json'} does not say how long a sequence may be."
            " Add max_position_embeddings."
        )
    return context


def resolve_model(ref: str | Path) -> Path:
    """Return the folder of ``builtin:nano``, ``builtin:nano-draft``, a path, or a Hub id.

    Hub ids (``owner/name`` or ``owner/name@revision``) are fetched only with ``TUNESMITH_HUB=1``.
    Raises ModelError saying what exists otherwise.
    """
    text = str(ref)
    if text.startswith("builtin:"):
        return _builtin(text.removeprefix("builtin:"))
    path = Path(text).expanduser()
    if path.is_dir():
        return path.absolute()
    if path.is_absolute() or not _HUB_ID.fullmatch(text.partition("@")[0]):
        raise ModelError(
            f"No model folder {text!r}. Give a folder, builtin:nano, or a Hub id like owner/name."
        )
    return _from_hub(text)


def _builtin(name: str) -> Path:
    if name not in BUILTIN:
        known = ", ".join(f"builtin:{known}" for known in BUILTIN)
        raise ModelError(f"No built-in model is named {name!r}. Built in: {known}.")
    folder = ASSETS / name
    if not (folder / "config.json").is_file():
        raise ModelError(f"The built-in model {name!r} is not in this installation ({folder}).")
    return folder


def _from_hub(ref: str) -> Path:
    name, _, revision = ref.partition("@")
    if os.environ.get("TUNESMITH_HUB") != "1":
        raise ModelError(
            f"{name!r} is no folder here; as a Hub id it would be downloaded, which is off."
            " Set TUNESMITH_HUB=1 to allow it, or give a folder."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(f"{ref!r} could not be fetched: {_first_line(error)}") from error
