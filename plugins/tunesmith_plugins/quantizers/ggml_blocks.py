"""Weights to GGML's blocks: the k-quants through llama.cpp's own code.

The `gguf` package reads q4_k, q5_k and q6_k and cannot write them; ``ggml_quantize_chunk`` in the
library that the engine `llamacpp` runs on can. It is called through its C interface
(https://github.com/ggml-org/llama.cpp/blob/master/ggml/include/ggml.h); no model is loaded.
"""

from __future__ import annotations

import ctypes
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith import ModelError

if TYPE_CHECKING:
    from numpy import ndarray

_BY_GGML = ("q4_k", "q5_k", "q6_k")


def blocks(weights: ndarray, kind: str) -> ndarray:
    """Return the bytes of a matrix, shape (rows, bytes per row); ``kind`` is a type's name.

    ``weights`` is float32, finite, and has rows that divide into the type's blocks. Raises
    ModelError when the installed llama.cpp cannot write the type.
    """
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    number = GGMLQuantizationType[kind.upper()]
    return _by_ggml(weights, number) if kind in _BY_GGML else quantize(weights, number)


def _by_ggml(weights: ndarray, number: Any) -> ndarray:
    import numpy as np
    from gguf import GGML_QUANT_SIZES

    block, size = GGML_QUANT_SIZES[number]
    width = weights.shape[-1]
    source = np.ascontiguousarray(weights, dtype=np.float32).reshape(-1, width)
    out = np.empty((len(source), width // block * size), dtype=np.uint8)
    written = _quantize_chunk()(
        int(number), source.ctypes.data, out.ctypes.data, 0, len(source), width, None
    )
    if written != out.nbytes:
        raise ModelError(
            f"The installed xllamacpp wrote {written} bytes of {number.name} where {out.nbytes}"
            " were due; it does not fit the installed gguf. Update both."
        )
    return out.reshape(*weights.shape[:-1], -1)


@lru_cache(maxsize=1)
def _quantize_chunk() -> Any:
    """Return ggml's function: (type, source, target, first, rows, width, importance) -> bytes."""
    found = importlib.util.find_spec("xllamacpp")
    folder = Path(found.origin).parent if found and found.origin else None
    for path in sorted(folder.glob("xllamacpp*.so")) if folder else ():
        function = getattr(ctypes.CDLL(str(path)), "ggml_quantize_chunk", None)
        if function is not None:
            pointer, count = ctypes.c_void_p, ctypes.c_int64
            function.argtypes = [ctypes.c_int, pointer, pointer, count, count, count, pointer]
            function.restype = ctypes.c_size_t
            return function
    raise ModelError(
        "The type q4_k_m is written by llama.cpp's own code, and no installed xllamacpp offers"
        " its function ggml_quantize_chunk. `pip install 'xllamacpp>=2026.10'`, or choose q4_0."
    )
