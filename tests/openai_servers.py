"""OpenAI-compatible servers for tests: a real one (llama.cpp), and one that does what it is told.

The second one is there for what no healthy server does: it refuses, hangs, drops the connection,
talks nonsense. It also judges by rules that a test knows, which no small model would.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tunesmith import Quantizer
from tunesmith.plugins import build
from tunesmith_plugins.engines.llamacpp_process import running

KEY_VARIABLE = "TUNESMITH_TEST_KEY"


def as_gguf(model: Path, out: Path) -> Path:
    """Return a folder with the model as float32 GGUF."""
    out.mkdir(parents=True, exist_ok=True)
    build(Quantizer, {"name": "gguf", "type": "f32"}).quantize(model, out)
    return out


@contextmanager
def llama_server(folder: Path, context: int = 512) -> Iterator[tuple[str, str, str]]:
    """Yield a llama.cpp server's (base_url, model name, key) on a folder's GGUF file."""
    file = next(folder.glob("*.gguf"))
    settings = {
        "file": str(file), "exact": True, "parallel": 4, "threads": 1, "context": context,
        "cache_prompt": False, "gpu_layers": 0, "flash_attention": "off", "lookup": 0,
        "lookup_after": 3, "draft": None, "draft_tokens": 4,
    }  # fmt: skip
    with running(settings) as connection:
        key = connection.client.headers["Authorization"].removeprefix("Bearer ")
        yield f"{str(connection.client.base_url).rstrip('/')}/v1", str(file), key


Reply = tuple[int, dict[str, str], bytes]
Answerer = Callable[[str, str, dict[str, Any], Any], "Reply | None"]
"""(method, path, body, headers) -> status, headers and body; None drops the connection."""


def material(body: dict[str, Any], name: str) -> str:
    """Return what a judge is shown under a name."""
    text = body["messages"][-1]["content"]
    return re.search(rf"<({name}-[0-9a-f]{{8}})>\n(.*?)\n</\1>", text, re.DOTALL)[2]


def ok(told: Any) -> Reply:
    return 200, {}, json.dumps(told).encode()


def models(*names: str) -> Reply:
    return ok({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})


def chat(text: str, likely: dict[str, float] | None = None, n: int = 1) -> Reply:
    """Return a chat's answer; ``likely`` are the log-probabilities at its first place."""
    choice: dict[str, Any] = {
        "index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}
    }  # fmt: skip
    if likely is not None:
        first = max(likely, key=likely.__getitem__)
        top = [{"token": token, "logprob": value} for token, value in likely.items()]
        choice["logprobs"] = {
            "content": [{"token": first, "logprob": likely[first], "top_logprobs": top}]
        }
    return ok({"choices": [{**choice, "index": at} for at in range(n)]})


@contextmanager
def told_server(answer: Answerer) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield a server's base_url and the requests it has had so far, bodies and headers."""
    seen: list[dict[str, Any]] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size) or b"{}")
            with lock:
                seen.append({"path": self.path, "body": body, "headers": dict(self.headers)})
            reply = answer(self.command, self.path, body, self.headers)
            if reply is None:
                self.close_connection = True
                self.connection.close()
                return
            status, headers, content = reply
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _serve  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
