"""What engines were measured to do, kept in the home folder: one small JSON file per question.

A question is named by the machine, the versions of what computes, the shape of the model, the
workload and the candidates, never by a model's name: two models of one shape share the answer.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunesmith import plugins, settings
from tunesmith.generation.racing import Workload
from tunesmith.model_facts import inspect_model, read_json
from tunesmith.stagekeys import LIBRARIES, version
from tunesmith.techniques import Technique

_FORMAT = 1
_SHAPE = ("architectures", "hidden_size", "intermediate_size", "num_hidden_layers",
          "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size",
          "max_position_embeddings", "tie_word_embeddings", "hidden_act")  # fmt: skip
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Question:
    """Which engine is the fastest: everything the answer may depend on."""

    machine: dict[str, Any]
    versions: dict[str, str]
    model: dict[str, Any]
    workload: dict[str, Any]
    candidates: list[dict[str, Any]]

    @classmethod
    def of(cls, model: Path, workload: Workload, techniques: Sequence[Technique]) -> Question:
        """Return the question for a model folder; ``techniques`` are engines and quantizers."""
        return cls(machine(), _versions(techniques), shape(model), workload.facts(), [
            {"name": one.name, "family": one.family, **one.model_dump(mode="json")}
            for one in techniques
        ])  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "format": _FORMAT,
            "machine": self.machine,
            "versions": self.versions,
            "model": self.model,
            "workload": self.workload,
            "candidates": self.candidates,
        }

    @property
    def path(self) -> Path:
        """Where the answer is kept."""
        text = json.dumps(self.facts(), sort_keys=True)
        return settings.home().engines / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"

    def answer(self) -> dict[str, Any] | None:
        """Return what was measured, None when it was not, or its file is damaged."""
        found = _read(self.path)
        return found["answer"] if found and found.get("question") == self.facts() else None

    def keep(self, answer: dict[str, Any]) -> None:
        """Store what was measured, in one step."""
        settings.home().prepare()
        path = self.path
        path.parent.mkdir(exist_ok=True)
        when = datetime.now(UTC).isoformat(timespec="seconds")
        whole = {"measured": when, "question": self.facts(), "answer": answer}
        fresh = path.with_suffix(f".{os.getpid()}.new")
        fresh.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        fresh.replace(path)


def stored() -> Iterator[dict[str, Any]]:
    """Yield every measurement that is kept, the newest first."""
    found = [_read(path) for path in settings.home().engines.glob("*.json")]
    yield from sorted((one for one in found if one), key=lambda one: one["measured"], reverse=True)


def machine() -> dict[str, Any]:
    """Return what of this machine decides over speed."""
    said = {name: os.environ[name] for name in _THREADS if name in os.environ}
    cores = len(os.sched_getaffinity(0))
    return {"processor": _processor(), "cores": cores, "threads": said}


def shape(model: Path) -> dict[str, Any]:
    """Return what of a model decides over speed: its sizes, and how its weights are stored."""
    config = read_json(model / "config.json")
    report = read_json(model / "report.json") if (model / "report.json").is_file() else {}
    facts = {key: config[key] for key in _SHAPE if key in config}
    int8 = (config.get("quantization_config") or {}).get("mode")
    stored_as = report.get("type") or (f"int8 {int8}" if int8 else inspect_model(model).dtype)
    return {**facts, "stored": stored_as}


def _versions(techniques: Sequence[Technique]) -> dict[str, str]:
    modules = {*LIBRARIES, *(module for one in techniques for module in one.needs)}
    sources = {f"{one.family} {one.name}": plugins.source_hash(type(one)) for one in techniques}
    return {name: version(name) for name in sorted(modules)} | dict(sorted(sources.items()))


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"measured", "answer"} <= found.keys() else None
