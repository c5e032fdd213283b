"""What the machine offers: where to compute, and in which precision."""

from __future__ import annotations

import os
import shutil
from typing import Literal

Precision = Literal["auto", "bfloat16", "float32"]
"""``auto`` is bfloat16 where the hardware computes it natively, else float32."""

ComputingDtype = Literal["bfloat16", "float32"]


def best_device() -> str:
    """Return ``cuda`` where there is a GPU, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def computing_dtype(choice: Precision) -> ComputingDtype:
    """Resolve ``auto``; what it became belongs into a run's metrics, as it changes the weights."""
    if choice != "auto":
        return choice
    return "bfloat16" if _native_bfloat16() else "float32"


def can_compile() -> bool:
    """Say whether ``torch.compile`` has what it needs: a GPU's Triton, or a C++ compiler."""
    import torch

    named = os.environ.get("CXX")
    compilers = [named] if named else ["g++", "clang++", "c++"]
    return torch.cuda.is_available() or any(shutil.which(one) for one in compilers)


def _native_bfloat16() -> bool:
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Without these instructions oneDNN emulates bf16, which is slower than fp32.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
