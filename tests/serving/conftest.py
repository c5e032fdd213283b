"""A server that really runs: the nano model, and the same model in eight bits under llama.cpp."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving_process import serving, wait_until_ready

from tunesmith import Quantizer, plugins
from tunesmith.models import resolve_model


@pytest.fixture(scope="session")
def q8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nano model as a GGUF file."""
    out = tmp_path_factory.mktemp("models") / "nano-q8"
    out.mkdir()
    quantizer = plugins.build(Quantizer, {"name": "gguf", "type": "q8_0"})
    quantizer.quantize(resolve_model("builtin:nano"), out)
    return out


@pytest.fixture(scope="session")
def server_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="session")
def server(server_home: Path, q8: Path) -> Iterator[httpx.Client]:
    """A client of a server with both models."""
    with serving(server_home, "nano", str(q8)) as (_, address):
        wait_until_ready(address)
        with httpx.Client(base_url=address, timeout=60) as client:
            yield client
