"""The server's life: what goes on beside an answer, who leaves, and how it ends."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from serving_process import PATIENCE, serving, wait_until_ready

from tunesmith.cli import main
from tunesmith.models import resolve_model

# Drawn almost blindly the model hardly ever ends its turn: a million tokens, if nobody stops it.
LONG = {
    "model": "nano", "prompt": ["Tell a story."] * 100, "temperature": 50, "n": 16,
    "max_tokens": 900,
}  # fmt: skip
SHORT = {"model": "nano", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def facts(server: httpx.Client, model: str = "nano") -> dict[str, Any]:
    return server.get(f"/v1/models/{model}").json()["tunesmith"]


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("model", ["nano", "nano-q8"])
def test_a_client_that_leaves_a_stream_ends_its_answer(server, model):
    before = facts(server, model)["abandoned"]
    with server.stream(
        "POST", "/v1/completions", json=LONG | {"stream": True, "model": model}
    ) as answer:
        lines = answer.iter_lines()
        first = next(lines)
        assert facts(server, model)["requests"] == 1, first
    until(lambda: facts(server, model)["abandoned"] == before + 1)
    assert facts(server, model)["requests"] == 0
    assert server.post("/v1/chat/completions", json=SHORT | {"model": model}).status_code == 200


def test_a_client_that_gives_up_waiting_ends_its_answer(server):
    before = facts(server)["abandoned"]
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.base_url}/v1/completions", json=LONG, timeout=0.5)
    until(lambda: facts(server)["abandoned"] == before + 1)


def test_health_and_other_models_answer_while_one_generates(server):
    with server.stream("POST", "/v1/completions", json=LONG | {"stream": True}) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert server.get("/healthz").json()["status"] == "ok"
        other = server.post("/v1/chat/completions", json=SHORT | {"model": "nano-q8"})
        assert other.status_code == 200
        assert facts(server)["requests"] == 1, "the long answer was still under way"


def test_requests_to_one_model_take_turns(server):
    answers: list[int] = []

    def ask() -> None:
        body = SHORT | {"max_tokens": 20}
        answers.append(
            httpx.post(
                f"{server.base_url}/v1/chat/completions", json=body, timeout=PATIENCE
            ).status_code
        )

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 12


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_is_no_error_and_leaves_no_process(tmp_path: Path, q8: Path, signum: signal.Signals):
    with serving(tmp_path, "nano", str(q8)) as (child, address):
        wait_until_ready(address)
        engines = psutil.Process(child.pid).children(recursive=True)
        assert any("llamacpp_child" in " ".join(one.cmdline()) for one in engines)
        child.send_signal(signum)
        assert child.wait(PATIENCE) == 0
        until(lambda: all(map(gone, engines)))
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(address.rsplit(":", 1)[1]))) != 0


def test_an_answer_under_way_when_the_server_ends_is_told_so(tmp_path: Path):
    with serving(tmp_path, "nano") as (child, address):
        wait_until_ready(address)
        with httpx.stream(
            "POST", f"{address}/v1/completions", json=LONG | {"stream": True}, timeout=PATIENCE
        ) as answer:
            lines = answer.iter_lines()
            next(lines)
            child.send_signal(signal.SIGINT)
            rest = [line for line in lines if line]
        assert child.wait(PATIENCE) == 0
        assert rest[-1] == "data: [DONE]"
        assert "shutting down" in rest[-2]


def test_a_killed_server_leaves_no_engine(tmp_path: Path, q8: Path):
    with serving(tmp_path, str(q8)) as (child, address):
        wait_until_ready(address)
        engines = psutil.Process(child.pid).children(recursive=True)
        child.kill()
        child.wait()
        assert engines
        until(lambda: all(map(gone, engines)))


def test_a_model_that_cannot_be_loaded_does_not_keep_the_others_from_answering(tmp_path: Path):
    broken = tmp_path / "broken"
    shutil.copytree(resolve_model("builtin:nano"), broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with serving(tmp_path / "home", str(broken), "nano") as (_, address):
        answer = httpx.post(f"{address}/v1/chat/completions", json=SHORT, timeout=PATIENCE)
        assert answer.status_code == 200
        refused = httpx.post(f"{address}/v1/chat/completions", json=SHORT | {"model": "broken"})
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert "not a whole safetensors file" in refused.json()["error"]["message"]
        states = httpx.get(f"{address}/readyz").json()["models"]
        assert (states["broken"]["state"], states["nano"]["state"]) == ("failed", "ready")


def test_where_no_model_can_be_loaded_the_server_ends_with_the_reason(tmp_path: Path):
    broken = tmp_path / "broken"
    shutil.copytree(resolve_model("builtin:nano"), broken)
    (broken / "model.safetensors").write_bytes(b"short")
    with serving(tmp_path / "home", str(broken)) as (child, _):
        assert child.wait(PATIENCE) == 1
        assert "broken cannot be served" in child.stdout.read()


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    code = main(["serve", *argv])
    told = capsys.readouterr()
    return code, told.out + told.err


def test_an_address_that_others_can_reach_is_refused(capsys):
    code, told = said(capsys, "--host", "0.0.0.0")
    assert code == 2 and "no keys yet" in told


def test_a_taken_port_is_named_with_the_way_out(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, told = said(capsys, "--port", str(port))
    assert code == 1 and f"Port {port} is taken" in told


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("nanoo",), "Did you mean 'nano'"),
        (("nano", "builtin:nano"), "Two models would be served as 'nano'"),
        (("nano", "--engine", "llamacpp"), "does not read"),
        (("nano", "--engine", "lamacpp"), "Did you mean 'llamacpp'"),
        (("bad id=nano",), "cannot be a model's id"),
        (("nobody@production",), "No model is registered as 'nobody'"),
    ],
)
def test_what_cannot_be_served_is_said_before_anything_starts(
    capsys, tmp_path, monkeypatch, argv, says
):
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path))
    code, told = said(capsys, *argv)
    assert code != 0 and says in told


def test_serving_is_not_imported_by_the_command_line():
    script = (
        "import sys; from tunesmith.cli import main; main(['serve', '--help']);"
        "print([m for m in ('starlette', 'uvicorn', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.rstrip().endswith("[]")
