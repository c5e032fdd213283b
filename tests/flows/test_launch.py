"""Runs as people start them: Prefect's private server, the screen, Ctrl-C, the clock."""

import io
import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest
import yaml
from rich.console import Console

from tunesmith.errors import ConfigError, StoreError
from tunesmith.store import open_store, queries
from tunesmith_flows import launch, server


def plain_console():
    return Console(file=io.StringIO(), width=200)


def children():
    every = psutil.Process().children(recursive=True)
    return [one for one in every if "tunesmith_flows.server" in one.cmdline()]


def test_a_run_goes_through_prefect_and_leaves_no_server(home, lifecycle):
    console = plain_console()
    done = launch.run(lifecycle(only=("data",)), console=console)
    assert done["status"] == "COMPLETED" and list(done["artifacts"]) == ["prepare"]
    told = console.file.getvalue()
    assert "prepare   started" in told and f"tunesmith report {done['run']}" in told
    assert (home / "prefect" / "prefect.db").is_file() and children() == []


def test_a_run_with_nothing_to_do_starts_no_server(home, lifecycle, plainly, monkeypatch):
    first = plainly(lifecycle(only=("data",)))
    monkeypatch.setattr(server, "start", lambda *_: pytest.fail("a server was started"))
    console = plain_console()
    done = launch.run(lifecycle(only=("data",)), console=console)
    assert done["artifacts"] == first["artifacts"] and "prepare   cached" in console.file.getvalue()


def test_a_config_that_cannot_work_makes_no_run(lifecycle):
    broken = lifecycle(only=("data", "tune"), tune={"method": {"name": "sfd"}})
    with pytest.raises(ConfigError, match="sft"):
        launch.run(broken, console=plain_console())
    assert queries.runs(open_store()) == []


def test_the_server_dies_with_a_killed_owner(tmp_path):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "prefect")], stdout=subprocess.PIPE, text=True
    )
    child = psutil.Process(int(owner.stdout.readline()))
    assert child.is_running()
    owner.kill()
    owner.wait()
    gone, alive = psutil.wait_procs([child], timeout=5)
    assert gone and not alive


OWNER = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from tunesmith_flows import server
    print(server.start(Path(sys.argv[1])).child.pid, flush=True)
    time.sleep(60)
    """
)


def test_a_second_owner_gets_a_folder_of_its_own_and_takes_it_away(tmp_path):
    folder = tmp_path / "prefect"
    first, second = server.start(folder), server.start(folder)
    try:
        assert first.home == folder and second.home.parent == folder and first.url != second.url
    finally:
        first.stop()
        second.stop()
    assert not second.home.exists() and first.child.poll() is not None
    third = server.start(folder)
    third.stop()
    assert third.home == folder


def test_a_server_that_cannot_start_says_why(tmp_path):
    (tmp_path / "prefect.db").mkdir()
    with pytest.raises(StoreError, match=r"ended with code \d+. Its last words: (?s:.)*database"):
        server.start(tmp_path).wait(100)


def test_a_named_server_is_used_and_not_stopped(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    named = server.start(tmp_path)
    assert named.url == "http://127.0.0.1:1/api" and named.child is None
    named.stop()
    with pytest.raises(StoreError, match="No Prefect server answers"):
        named.wait(0.2)


@pytest.mark.slow
def test_ctrl_c_stops_a_run_that_can_be_resumed(tmp_path, settings):
    settings["tune"]["method"]["steps"] = 3000
    config = write(tmp_path, {k: settings[k] for k in ("name", "model", "data", "tune")})
    home = {**os.environ, "TUNESMITH_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "tunesmith.cli"]
    process = subprocess.Popen(
        [*command, "run", str(config)], env=home, stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith("tune") and "/3000" in line:
            process.send_signal(signal.SIGINT)
            break
    told = process.stdout.read()
    assert process.wait(60) == 130 and "tunesmith resume small-0001" in told
    listed = subprocess.run([*command, "runs", "list"], env=home, capture_output=True, text=True)
    assert "STOPPED" in listed.stdout


@pytest.mark.slow
def test_a_schedule_really_runs_the_lifecycle(tmp_path, settings, monkeypatch):
    config = write(tmp_path, {k: settings[k] for k in ("name", "model", "data")})
    home = tmp_path / "home"
    environment = {**os.environ, "TUNESMITH_HOME": str(home)}
    command = [sys.executable, "-m", "tunesmith.cli", "schedule", str(config)]
    process = subprocess.Popen([*command, "--cron", "* * * * *"], env=environment)
    try:
        monkeypatch.setenv("TUNESMITH_HOME", str(home))
        end = time.monotonic() + 240
        while not finished(home) and time.monotonic() < end:
            time.sleep(1)
        assert finished(home)[0].id == "small-0001"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
    left = [one for one in psutil.process_iter() if str(home) in mine(one)]
    assert left == []


def finished(home):
    if not (home / "tunesmith.db").is_file():
        return []
    return [one for one in queries.runs(open_store()) if one.status == "COMPLETED"]


def mine(process):
    try:
        return process.environ().get("TUNESMITH_HOME", "")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


def write(folder, settings):
    path = folder / "lifecycle.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path
