"""The process that holds llama.cpp: a broken model file may abort it, never the run.

Started by `llamacpp_process`. The settings come as one line of JSON on standard input (so that the
key is in no process list); the answer is one line on standard output; then it serves on a loopback
port until its standard input closes or its parent is gone.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from typing import Any


def main() -> None:
    """Start the server, say where it listens, and stay until nobody needs it."""
    # Ctrl-C reaches every process of the terminal; the owner decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    settings = json.loads(sys.stdin.readline())
    try:
        server = _serve(settings)
    except RuntimeError as error:
        _answer({"error": str(error)})
        return
    _answer({"address": server.listening_address})
    while os.getppid() == parent and not _closed(seconds=1.0):
        pass


def _serve(settings: dict[str, Any]) -> Any:
    import xllamacpp

    return xllamacpp.Server(_parameters(xllamacpp, settings))


def _parameters(xllamacpp: Any, settings: dict[str, Any]) -> Any:
    """Return llama.cpp's parameters; every default that could change an answer is set here."""
    exact = settings["exact"]
    kinds = xllamacpp.ggml_type
    found = xllamacpp.CommonParams()
    found.model.path = settings["file"]
    found.api_keys = [settings["key"]]
    found.n_parallel = settings["parallel"]
    found.n_ctx = settings["context"] * settings["parallel"]
    found.n_gpu_layers = settings["gpu_layers"]
    found.cpuparams.n_threads = found.cpuparams_batch.n_threads = settings["threads"]
    kind = kinds.GGML_TYPE_F32 if exact else kinds.GGML_TYPE_F16
    found.cache_type_k = found.cache_type_v = kind
    found.flash_attn_type = _flash(xllamacpp, settings.get("flash_attention", "auto"), exact)
    found.kv_unified = found.ctx_shift = found.fit_params = found.warmup = False
    # Which slot a request gets must not depend on what an earlier one left behind.
    found.slot_prompt_similarity = 0.1 if settings["cache_prompt"] else 0.0
    found.cache_prompt = settings["cache_prompt"]
    found.cache_ram_mib = 0
    found.cache_idle_slots = False
    found.ui = found.endpoint_slots = found.endpoint_props = False
    found.verbosity = 2
    if settings.get("draft") or settings.get("lookup"):
        _guess(xllamacpp, found.speculative, settings, kind)
    return found


def _flash(xllamacpp: Any, wanted: str, exact: bool) -> Any:
    kinds = xllamacpp.llama_flash_attn_type
    if wanted == "on":
        return kinds.LLAMA_FLASH_ATTN_TYPE_ENABLED
    if wanted == "off" or exact:
        return kinds.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return kinds.LLAMA_FLASH_ATTN_TYPE_AUTO


def _guess(xllamacpp: Any, found: Any, settings: dict[str, Any], cache_type: Any) -> None:
    """Set llama.cpp's parameters of speculation: a draft model, or n-grams of the text."""
    kinds = xllamacpp.common_speculative_type
    if not settings.get("draft"):
        found.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        found.ngram_simple.size_n = settings["lookup_after"]
        found.ngram_simple.size_m = settings["lookup"]
        found.ngram_simple.min_hits = 1
        return
    found.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
    draft = found.draft
    draft.mparams.path = settings["draft"]
    draft.n_max, draft.n_min, draft.p_min = settings["draft_tokens"], 0, 0.0
    draft.cache_type_k = draft.cache_type_v = cache_type
    draft.n_gpu_layers = settings["gpu_layers"]
    draft.cpuparams.n_threads = draft.cpuparams_batch.n_threads = settings["threads"]


def _answer(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _closed(seconds: float) -> bool:
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and not sys.stdin.read(1)


if __name__ == "__main__":
    main()
