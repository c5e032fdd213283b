"""What a model folder holds, read from its JSON files and safetensors headers: no torch."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunesmith import adapted
from tunesmith.errors import ModelError

PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.joblib")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
_CONTEXTS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
_HEADER_LIMIT = 100_000_000
"""Longest header in bytes; the safetensors library has the same limit."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model folder at a glance; ``problems`` are the reasons why it cannot be used."""

    architecture: str
    parameters: int
    bytes: int
    """Size of the weight files."""
    dtype: str
    """What most weights are stored as, in safetensors' words, e.g. ``BF16``."""
    vocab: int
    context: int | None
    """Longest sequence in tokens, where the config says."""
    has_chat_template: bool
    eos: str | None
    problems: tuple[str, ...] = ()
    adapter: str | None = None
    """What stands beside the weights without being merged, e.g. ``prompt_tuning``."""


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object; raise ModelError when the file holds none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(data, dict):
        raise ModelError(f"{path} holds {type(data).__name__}, not an object.")
    return data


def inspect_model(folder: Path) -> ModelFacts:
    """Return what is in a folder; never raises for a bad one, see ``problems``."""
    try:
        beside = adapted.read_marker(folder)
    except ModelError as error:
        return replace(_inspect_plain(folder), problems=(str(error),))
    return _inspect_plain(folder) if beside is None else _inspect_adapted(folder, beside)


def _inspect_adapted(folder: Path, beside: adapted.Adapted) -> ModelFacts:
    """Return the facts of base and adapter together; virtual tokens take room in the context."""
    base, problems = _inspect_plain(folder / adapted.BASE), adapted.problems_of(folder, beside)
    learnt = _learnt(folder / adapted.ADAPTER / adapted.WEIGHTS, problems)
    return replace(
        base,
        parameters=base.parameters + learnt,
        bytes=sum(path.stat().st_size for path in adapted.weight_files(folder) if path.is_file()),
        context=base.context and base.context - beside.virtual_tokens,
        problems=(*base.problems, *problems),
        adapter=beside.kind,
    )


def _learnt(path: Path, problems: list[str]) -> int:
    try:
        return sum(math.prod(tensor["shape"]) for tensor in _header(path).values())
    except FileNotFoundError:
        return 0  # told already
    except (ValueError, OSError, KeyError, TypeError, struct.error) as error:
        problems.append(f"{path} is not a whole safetensors file: {error}.")
    return 0


def _inspect_plain(folder: Path) -> ModelFacts:
    problems: list[str] = []
    config = _object(folder / "config.json", problems)
    tokenizer = _object(folder / "tokenizer_config.json", problems)
    _refuse_code(folder, problems)
    problems += _missing(folder)
    headers = _headers(folder, problems)
    inner = {**config, **(config.get("text_config") or {})}
    return ModelFacts(
        architecture=str((config.get("architectures") or ["unknown"])[0]),
        parameters=sum(math.prod(t["shape"]) for h in headers for t in h.values()),
        bytes=sum(path.stat().st_size for path in folder.glob("*.safetensors")),
        dtype=_most_common_dtype(headers),
        vocab=int(inner.get("vocab_size") or 0),
        context=next((int(inner[key]) for key in _CONTEXTS if inner.get(key)), None),
        has_chat_template=bool(tokenizer.get("chat_template"))
        or (folder / "chat_template.jinja").is_file(),
        eos=_content(tokenizer.get("eos_token")),
        problems=tuple(problems),
    )


def _object(path: Path, problems: list[str]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return read_json(path)
    except ModelError as error:
        problems.append(str(error))
        return {}


def _content(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token


def _refuse_code(folder: Path, problems: list[str]) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        if path.is_file() and '"auto_map"' in path.read_text(encoding="utf-8", errors="replace"):
            problems.append(
                f"{path} asks to run code that comes with the model (auto_map); Tunesmith never"
                " does. Use a model whose architecture transformers knows, without auto_map."
            )


def _missing(folder: Path) -> list[str]:
    if not folder.is_dir():
        return [f"{folder} is not a folder."]
    found = []
    if not (folder / "config.json").is_file():
        found.append(f"{folder} has no config.json, so its architecture is unknown.")
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        found.append(f"{folder} has no tokenizer ({', '.join(_TOKENIZERS)}).")
    if not any(folder.glob("*.safetensors")):
        found.append(no_weights(folder))
    return found


def no_weights(folder: Path) -> str:
    """Return the problem of a folder without safetensors weights."""
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if not pickles:
        return f"{folder} has no weights (*.safetensors)."
    return (
        f"{folder} has only pickle weights ({', '.join(pickles[:3])}), which can run code when"
        " opened. Convert them where you trust them: load the model with transformers and call"
        " save_pretrained(), which writes model.safetensors."
    )


def _headers(folder: Path, problems: list[str]) -> list[dict[str, Any]]:
    headers = []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            headers.append(_header(path))
        except (ValueError, OSError, KeyError, TypeError, struct.error) as error:
            problems.append(f"{path} is not a whole safetensors file: {error}.")
    problems += _missing_shards(folder)
    return headers


def _header(path: Path) -> dict[str, Any]:
    """Return name -> {dtype, shape, data_offsets}; ValueError unless they tile the file exactly."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        if length > min(_HEADER_LIMIT, size - 8):
            raise ValueError(f"its header claims {length} bytes")
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    end = 0
    for first, last in sorted(tuple(tensor["data_offsets"]) for tensor in header.values()):
        if first != end or last < first:
            raise ValueError(f"its tensors overlap or leave a hole at byte {end}")
        end = last
    if 8 + length + end != size:
        raise ValueError(f"it should be {8 + length + end} bytes long and is {size}")
    return header


def _missing_shards(folder: Path) -> list[str]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return []
    problems: list[str] = []
    shards = sorted(set(_object(index, problems).get("weight_map", {}).values()))
    absent = [name for name in shards if not (folder / str(name)).is_file()]
    return problems + [f"{folder} lacks the weight file {name}." for name in absent]


def _most_common_dtype(headers: list[dict[str, Any]]) -> str:
    sizes: dict[str, int] = {}
    for tensor in (t for header in headers for t in header.values()):
        sizes[tensor["dtype"]] = sizes.get(tensor["dtype"], 0) + math.prod(tensor["shape"])
    return max(sizes, key=lambda name: sizes[name]) if sizes else "unknown"
