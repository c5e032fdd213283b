"""Disk and memory: what the run will want, and what there is. Estimates, on the generous side."""

from __future__ import annotations

import shutil
from pathlib import Path

from tunesmith import settings
from tunesmith.config import Lifecycle
from tunesmith.model_facts import ModelFacts
from tunesmith.preflight.built import Built
from tunesmith.preflight.outcome import Plan
from tunesmith.techniques import Adapter, TrainingMethod

RUNTIME = 1_500_000_000
"""Bytes that Python, torch, transformers and Prefect's server take before any model is loaded."""
SPARE_DISK = 100_000_000
"""Bytes for the database, logs and rows."""
FP32 = 4
TRAINED = 16
"""Bytes per trained parameter: weight, gradient and AdamW's two moments, all fp32."""
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def check(
    config: Lifecycle, pending: list[str], built: Built, facts: ModelFacts | None, plan: Plan
) -> None:
    """Note a disk or a memory that is too small for the stages that have to run."""
    parameters = facts.parameters if facts else _from_scratch(built)
    disk, free = disk_needed(pending, parameters, built), free_disk(settings.home().path)
    memory, total = memory_needed(pending, parameters, built, facts), total_memory()
    plan.facts |= {"disk_needed": disk, "disk_free": free}
    plan.facts |= {"memory_needed": memory, "memory_total": total}
    if pending and disk > free:
        plan.problem(
            "",
            f"The run may write {_gb(disk)}, and {settings.home().path} has {_gb(free)} free. Free"
            " some space (`tunesmith gc --dry-run` shows what can go), or set TUNESMITH_HOME to a"
            " larger disk.",
        )
    if pending and memory > total:
        plan.problem(
            "model",
            f"the run may need {_gb(memory)} of memory, and this machine has {_gb(total)}. Use a"
            " smaller model, an adapter such as lora, or a smaller batch.",
        )
    elif pending and memory > available_memory():
        plan.warn(
            "",
            f"The run may need {_gb(memory)} of memory, and {_gb(available_memory())} are free"
            " now. Close other programs if it is killed.",
        )


def disk_needed(pending: list[str], parameters: int, built: Built) -> int:
    """Return the bytes that artifacts and checkpoints may take at once."""
    weights = parameters * FP32
    total = SPARE_DISK if pending else 0
    for stage in ("tune", "align"):
        if stage in pending:
            # The merged model, and two checkpoints while it is trained.
            total += weights + 2 * _trained_share(built, stage, weights)
    total += weights if "reward" in pending else 0
    total += weights if "optimise" in pending else 0
    # Only while models are compared: the parent again, for the other engine.
    total += weights if "evaluate" in pending and "optimise.quantizer" in built.at else 0
    return total


def _trained_share(built: Built, stage: str, weights: int) -> int:
    """Return the bytes of a checkpoint: little for an adapter, three times the weights if all."""
    adapter = built.one(f"{stage}.adapter", Adapter)
    whole = adapter is None or adapter.name == "full"
    return 3 * weights if whole else weights // 10


def memory_needed(
    pending: list[str], parameters: int, built: Built, facts: ModelFacts | None
) -> int:
    """Return the bytes of the hungriest stage that has to run."""
    wants = [RUNTIME + parameters * FP32]
    for stage in (one for one in ("tune", "reward", "align") if one in pending):
        adapter = built.one(f"{stage}.adapter", Adapter)
        whole = stage == "reward" or adapter is None or adapter.name == "full"
        per_parameter = TRAINED if whole else FP32 + 1
        copies = 2 * FP32 if stage == "align" else 0  # the policy's reference, the reward model
        logits = _logits(built, stage, facts)
        wants.append(RUNTIME + parameters * (per_parameter + copies) + logits)
    return max(wants) if pending else 0


def _logits(built: Built, stage: str, facts: ModelFacts | None) -> int:
    """Return the bytes of a batch's logits, their softmax and gradient: often the largest part."""
    method = built.one(f"{stage}.method", TrainingMethod)
    tokens = getattr(method, "batch_tokens", None) or 4096
    return int(tokens) * (facts.vocab if facts else 32_000) * FP32 * 3


def _from_scratch(built: Built) -> int:
    """Return about how many parameters a model made from nothing will have."""
    shape = getattr(built.one("tune.method", TrainingMethod), "architecture", None)
    if shape is None:
        return 0
    hidden, inner = getattr(shape, "hidden_size", 256), getattr(shape, "intermediate_size", 1024)
    layers, vocabulary = getattr(shape, "layers", 4), getattr(shape, "vocab_size", 4096)
    return int(layers * (4 * hidden * hidden + 3 * hidden * inner) + 2 * vocabulary * hidden)


def free_disk(folder: Path) -> int:
    """Return the bytes free where a folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def total_memory() -> int:
    """Return the bytes this process may have: the machine's, or its container's limit."""
    import psutil

    limits = [int(psutil.virtual_memory().total)]
    for path in map(Path, _CGROUPS):
        text = path.read_text(encoding="ascii").strip() if path.is_file() else "max"
        if text.isdecimal():
            limits.append(int(text))
    return min(limits)


def available_memory() -> int:
    """Return the bytes that are free now."""
    import psutil

    return min(int(psutil.virtual_memory().available), total_memory())


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"
