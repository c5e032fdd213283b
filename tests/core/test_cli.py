"""The command line: what it prints, what it returns, and that no traceback reaches anybody."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_models import tiny_model

from tunesmith import plugins, store
from tunesmith.cli import boundary, main
from tunesmith.errors import ConfigError, GateRefused, StoreError, Waiting
from tunesmith.store import runs

ROOT = Path(__file__).parents[2]
SMALL = """\
name: demo
model: {model}
data:
  sources: [{{name: nano, families: [maths], train: 8, prompts: 2, test: 2, validation: 1}}]
"""


def lines(pattern: str, count: int) -> str:
    return "".join(pattern.format(number) + "\n" for number in range(count))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Give every test a home, and leave the environment as it was."""
    path = tmp_path / "home"
    monkeypatch.setenv("TUNESMITH_HOME", str(path))
    monkeypatch.setenv(boundary.DEBUG, "")
    monkeypatch.setenv("COLUMNS", "200")
    plugins.host.cache_clear()
    yield path
    plugins.host.cache_clear()


@pytest.fixture
def cli(capfd):
    """Return a function that runs a command and gives code, stdout and stderr."""

    def _cli(*argv: object) -> tuple[int, str, str]:
        code = main([str(arg) for arg in argv])
        out, err = capfd.readouterr()
        return code, out, err

    return _cli


@pytest.fixture
def lifecycle(tmp_path):
    path = tmp_path / "lifecycle.yaml"
    path.write_text(SMALL.format(model=tiny_model(context=1024)))
    return path


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "code", "words"),
        [
            (ConfigError("no key 'x'"), 2, "no key 'x'"),
            (StoreError("locked"), 1, "locked"),
            (GateRefused("too bad"), 1, "too bad"),
            (Waiting("12 labels are missing"), 3, "12 labels are missing"),
            (OSError(errno.ENOSPC, "No space", "/a/b"), 1, "/a/b: the disk is full; free some"),
            (OSError(errno.EROFS, "ro", "/a"), 1, "/a: the file system is read-only"),
            (PermissionError(errno.EACCES, "no", "/a"), 1, "/a: permission denied"),
            (MemoryError(), 1, "Out of memory"),
            (ValueError("odd\nsecond line"), 1, "ValueError: odd\nThis is a defect"),
            (KeyError(), 1, "KeyError\nThis is a defect"),
        ],
    )
    def test_each_kind_has_its_message_and_code(self, error, code, words, capfd):
        assert boundary.failed(error) == code
        err = capfd.readouterr().err
        assert words in err and "Traceback" not in err

    def test_debug_shows_the_traceback(self, monkeypatch, capfd):
        monkeypatch.setenv(boundary.DEBUG, "1")
        try:
            raise ValueError("odd")
        except ValueError as error:
            boundary.failed(error)
        assert "Traceback" in capfd.readouterr().err

    def test_debug_and_home_may_stand_anywhere(self, cli, tmp_path, monkeypatch):
        other = tmp_path / "other"
        code, _, err = cli("plan", tmp_path / "no.yaml", "--debug", f"--home={other}")
        assert code == 2 and "Traceback" in err
        assert os.environ["TUNESMITH_HOME"] == str(other)

    def test_after_two_dashes_nothing_is_taken(self, cli):
        assert cli("plan", "--", "--debug")[0] == 2
        assert not os.environ[boundary.DEBUG]

    def test_a_defect_becomes_one_line(self, cli, monkeypatch, lifecycle):
        from tunesmith import preflight

        def broken(*args, **options):
            raise RuntimeError("something inside")

        monkeypatch.setattr(preflight, "plan", broken)
        code, out, err = cli("plan", lifecycle)
        assert (code, out) == (1, "")
        assert err.startswith("RuntimeError: something inside\nThis is a defect")

    def test_an_error_is_json_where_json_was_asked_for(self, cli, tmp_path):
        code, out, err = cli("plan", tmp_path / "no.yaml", "--json")
        assert code == 2 and "There is no file" in err
        assert json.loads(out) == {"error": err.strip(), "code": 2}

    @pytest.mark.parametrize(
        ("argv", "words"),
        [
            (["rum"], "Did you mean 'run'"),
            (["plan"], "Missing argument 'FILE'"),
            (["plan", "a.yaml", "--untill", "tune"], "--until"),
            (["--home"], "--home"),
            (["dashboard", "--port", "99999"], "less than or equal to 65535"),
        ],
    )
    def test_a_wrong_command_line_is_code_2(self, cli, argv, words):
        code, _, err = cli(*argv)
        assert code == 2 and words in err

    def test_control_characters_of_a_file_name_do_not_reach_the_terminal(self, cli, tmp_path):
        _, _, err = cli("plan", tmp_path / "\x1b[2Jevil.yaml")
        assert "\x1b" not in err and "\\x1b[2Jevil.yaml" in err

    def test_a_reader_that_goes_away_is_no_error(self, tmp_path):
        command = f"{sys.executable} -m tunesmith.cli plugins list | head -1"
        done = subprocess.run(command, shell=True, capture_output=True, text=True)
        assert done.stdout.startswith("family") and "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr

    def test_ctrl_c_is_130_without_a_traceback(self, tmp_path, lifecycle):
        script = (
            "import os, signal, sys\nfrom tunesmith import preflight\n"
            "from tunesmith.cli import main\n"
            "preflight.plan = lambda *a, **k: os.kill(os.getpid(), signal.SIGINT)\n"
            f"sys.exit(main(['plan', {str(lifecycle)!r}]))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.returncode == 130 and "Traceback" not in done.stderr

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_read_only_home_says_what_to_set(self, cli, home):
        home.mkdir()
        home.chmod(0o500)
        code, _, err = cli("runs", "list")
        assert code == 1 and "Set TUNESMITH_HOME" in err

    def test_a_home_that_is_a_file_says_what_to_set(self, cli, home):
        home.write_text("")
        code, _, err = cli("runs", "list")
        assert code == 1 and "Set TUNESMITH_HOME to a folder you may write to" in err

    def test_a_database_newer_than_the_code_is_refused_and_left_alone(self, cli, home):
        import sqlite3

        store.open()
        with sqlite3.connect(home / "tunesmith.db") as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        before = (home / "tunesmith.db").read_bytes()
        for command in (["runs", "list"], ["db", "upgrade"], ["db", "status"]):
            code, out, err = cli(*command)
            assert code == 1 and "newer Tunesmith" in out + err
        assert (home / "tunesmith.db").read_bytes() == before


class TestPlan:
    def test_shows_the_stages_and_is_0_when_ready(self, cli, lifecycle):
        code, out, _ = cli("plan", lifecycle)
        assert code == 0
        assert "prepare" in out and "no estimate yet" in out and "Ready to run." in out

    def test_lists_the_problems_and_is_2(self, cli, lifecycle):
        code, out, _ = cli("plan", lifecycle, "--set", "tune.method=sfd")
        assert code == 2 and "Did you mean 'sft'?" in out and "1 problem to put right" in out

    def test_is_one_json_document(self, cli, lifecycle):
        code, out, _ = cli("plan", lifecycle, "--json", "--set", "tune.method=sfd")
        found = json.loads(out)
        assert code == 2 and found["problems"][0]["place"] == "tune.method"

    def test_starts_nothing(self, cli, lifecycle, home):
        cli("plan", lifecycle)
        assert cli("runs", "list", "--json")[1].strip() == "[]"
        assert list((home / "artifacts").glob("dataset-*")) == []


class TestRun:
    def test_a_config_that_is_wrong_starts_nothing(self, cli, lifecycle, home):
        code, _, err = cli("run", lifecycle, "--set", "tune.method=sfd")
        assert code == 2 and "Did you mean 'sft'?" in err
        assert json.loads(cli("runs", "list", "--json")[1]) == []

    def test_a_run_its_history_and_its_second_time(self, cli, lifecycle):
        code, out, _ = cli("run", lifecycle, "--json")
        first = json.loads(out)
        assert code == 0 and first["status"] == "COMPLETED"
        code, out, _ = cli("plan", lifecycle, "--json")
        assert json.loads(out)["stages"][0]["artifact"] == first["artifacts"]["prepare"]
        code, out, _ = cli("run", lifecycle)
        assert code == 0 and "demo-0002" in out
        assert "cached" in cli("runs", "show", "demo-0002")[1]
        assert cli("resume", "demo-0002")[0] == 1

    def test_waiting_is_code_3_and_a_stop_is_130(self, cli, lifecycle, monkeypatch):
        from tunesmith.cli import apps

        for status, wanted in [("WAITING", 3), ("STOPPED", 130), ("COMPLETED", 0)]:
            report = {"run": "demo-0001", "status": status, "artifacts": {}, "reason": None}
            monkeypatch.setattr(apps, "app", lambda name, told=report: lambda *a, **k: told)
            assert cli("run", lifecycle)[0] == wanted

    def test_what_libraries_print_stays_out_of_the_json(self, cli, lifecycle, monkeypatch):
        from tunesmith.cli import apps

        def noisy(*args, **options):
            sys.stdout.write("chatter\n")
            subprocess.run(["echo", "of a child"], check=True)
            return {"run": "demo-0001", "status": "COMPLETED"}

        monkeypatch.setattr(apps, "app", lambda name: noisy)
        _, out, err = cli("run", lifecycle, "--json")
        assert json.loads(out)["run"] == "demo-0001"
        assert "chatter" in err and "of a child" in err

    def test_a_missing_part_of_the_installation_is_named(self, cli, lifecycle, monkeypatch):
        from tunesmith.cli import apps

        monkeypatch.setattr(apps, "GROUP", "tunesmith.nothing")
        code, _, err = cli("run", lifecycle)
        assert code == 1 and "No installed package can run" in err

    def test_there_is_nothing_to_resume_at_first(self, cli):
        code, _, err = cli("resume")
        assert code == 1 and "nothing to go on with" in err

    def test_an_unknown_run_names_the_nearest(self, cli):
        runs.set_status(store.open(), runs.create(store.open(), "demo", {}), "FAILED")
        code, _, err = cli("resume", "demo-0002")
        assert code == 1 and "demo-0001" in err


class TestHistory:
    @pytest.fixture
    def waiting(self, lifecycle):
        opened = store.open()
        run = runs.create(opened, "demo", {"model": "builtin:nano", "seed": 7})
        runs.set_status(opened, run, "WAITING", reason="12 labels are missing")
        return run

    def test_runs_are_listed_with_why(self, cli, waiting):
        code, out, _ = cli("runs", "list")
        assert code == 0 and "demo-0001" in out and "12 labels are missing" in out

    def test_as_json_too(self, cli, waiting):
        found = json.loads(cli("runs", "list", "--status", "waiting", "--json")[1])
        assert [one["id"] for one in found] == ["demo-0001"]

    def test_an_unknown_status_names_the_nearest(self, cli):
        code, _, err = cli("runs", "list", "--status", "waitin")
        assert code == 2 and "Did you mean 'WAITING'?" in err

    def test_one_run_is_shown_with_the_way_on(self, cli, waiting):
        code, out, _ = cli("runs", "show")
        assert code == 0 and "tunesmith resume demo-0001" in out
        assert json.loads(cli("runs", "show", "--json")[1])["reason"] == "12 labels are missing"

    def test_a_run_whose_process_is_gone_is_not_left_running(self, cli):
        script = "from tunesmith import store; from tunesmith.store import runs;"
        script += "runs.create(store.open(), 'demo', {})"
        subprocess.run([sys.executable, "-c", script], check=True)
        assert json.loads(cli("runs", "list", "--json")[1])[0]["status"] == "CRASHED"

    def test_the_report_of_a_run_is_a_file(self, cli, waiting, tmp_path):
        pytest.importorskip("tunesmith.report.render")
        out = tmp_path / "r.html"
        code, text, _ = cli("report", "--out", out)
        assert code == 0 and str(out) in text
        assert out.read_text(encoding="utf-8").lower().startswith("<!doctype html>")


class TestInit:
    def test_it_writes_a_config_that_plans(self, cli, tmp_path):
        model = tiny_model(context=1024)
        assert cli("init", tmp_path / "new demo!", "--model", model)[0] == 0
        code, out, _ = cli("plan", tmp_path / "new demo!" / "lifecycle.yaml")
        assert code == 0 and out.startswith("new-demo")

    def test_it_replaces_nothing_unless_told(self, cli, lifecycle, tmp_path):
        before = lifecycle.read_text()
        code, _, err = cli("init", tmp_path)
        assert code == 2 and "--force" in err and lifecycle.read_text() == before
        assert cli("init", tmp_path, "--force")[0] == 0

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("rows.jsonl", lines('{{"prompt": "Say {0}.", "completion": "{0}"}}', 80)),
            ("rows.csv", "question,answer\n" + lines("Say {0}.,{0}", 80)),
            ("rows.txt", lines("Once there were {0} cats.\n", 300)),
        ],
    )  # fmt: skip
    def test_with_data_it_suits_the_rows_and_plans(self, cli, tmp_path, name, content):
        data = tmp_path / name
        data.write_text(content)
        model = tiny_model(context=1024)
        assert cli("init", tmp_path / "new", "--model", model, "--data", data)[0] == 0
        code, out, _ = cli("plan", tmp_path / "new" / "lifecycle.yaml")
        assert code == 0, out

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("rows.xls", b"", "no source reads .xls"),
            ("none.jsonl", None, "none.jsonl"),
            ("empty.jsonl", b"", "empty"),
        ],
    )
    def test_data_it_cannot_start_with_is_refused(self, cli, tmp_path, name, content, words):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        code, _, err = cli("init", tmp_path / "new", "--data", tmp_path / name)
        assert code == 2 and words in err
        assert not (tmp_path / "new").exists()


class TestConfigCommands:
    def test_the_schema_is_a_json_document(self, cli):
        code, out, _ = cli("config", "schema")
        assert code == 0 and json.loads(out)["properties"]["tune"]

    def test_a_config_is_shown_with_its_defaults(self, cli, lifecycle):
        import yaml

        code, out, _ = cli("config", "show", lifecycle, "--set", "respond={}")
        assert code == 0 and yaml.safe_load(out)["respond"]["answers"] == 4


class TestPluginCommands:
    def test_techniques_are_listed_by_family(self, cli):
        code, out, _ = cli("plugins", "list", "samplers")
        assert code == 0 and "min_p" in out and "lora" not in out
        assert json.loads(cli("plugins", "list", "--json")[1])["families"]["Adapter"]

    def test_one_is_shown_with_options_limits_and_source(self, cli):
        code, out, _ = cli("plugins", "show", "sampler", "min_p")
        assert code == 0
        assert "float (≥ 0) (≤ 1)" in out and "plugin sampler.min_p" in out and "min_p.py" in out

    @pytest.mark.parametrize(
        ("argv", "words"),
        [
            (["list", "smapler"], "There is no family 'smapler'. Did you mean 'Sampler'?"),
            (["show", "sampler", "minp"], "Did you mean 'min_p'?"),
            (["disable", "sampler.minp"], "Did you mean 'sampler.min_p'?"),
        ],
    )
    def test_a_wrong_name_gets_the_nearest(self, cli, argv, words):
        code, _, err = cli("plugins", *argv)
        assert code and words in err

    def test_disabling_and_enabling(self, cli):
        assert cli("plugins", "disable", "sampler.top_k")[0] == 0
        assert "Disabled: sampler.top_k" in cli("plugins", "list", "sampler")[1]
        assert "top_k is disabled" in cli("plugins", "show", "sampler", "top_k")[2]
        assert cli("plugins", "enable", "sampler.top_k")[0] == 0
        assert cli("plugins", "show", "sampler", "top_k")[0] == 0

    def test_enabling_says_what_still_keeps_it_off(self, cli, monkeypatch):
        monkeypatch.setenv("TUNESMITH_DISABLE", "sampler.top_k")
        assert "Still off, by sampler.top_k" in cli("plugins", "enable", "sampler.top_k")[1]

    def test_doctor_is_0_when_all_is_well(self, cli):
        code, out, _ = cli("plugins", "doctor", "--json")
        assert code == 0 and json.loads(out)["broken"] == []

    def test_a_duplicate_can_be_listed_and_disabled(self, cli, tmp_path, monkeypatch):
        _distribution(tmp_path, "tunesmith-rival", "rival", "greedy")
        monkeypatch.syspath_prepend(str(tmp_path))
        code, out, _ = cli("plugins", "doctor")
        assert code == 1 and "rival (tunesmith-rival 1.2)" in out
        code, out, _ = cli("plugins", "list", "sampler")
        assert code == 0 and "Two plugins offer a Sampler named 'greedy'" in out
        assert cli("plugins", "disable", "tunesmith-rival")[0] == 0
        assert cli("plugins", "show", "sampler", "greedy")[0] == 0

    def test_a_broken_plugin_is_diagnosed_with_its_traceback(self, cli, tmp_path, monkeypatch):
        _distribution(tmp_path, "tunesmith-bad", "bad", "bad", "raise RuntimeError('no licence')")
        monkeypatch.syspath_prepend(str(tmp_path))
        code, out, _ = cli("plugins", "doctor")
        assert code == 1
        assert "no licence" in out and "Traceback" in out and "plugins disable bad" in out
        assert cli("doctor")[0] == 0
        assert "bad" in json.loads(cli("env", "--json")[1])["broken"][0]


def _distribution(site, dist, plugin, name, first=""):
    module = f"tsc_{plugin}"
    (site / f"{module}.py").write_text(
        f"{first}\nfrom tunesmith import Sampler, hookimpl\nclass Mine(Sampler):\n"
        f"    '''A rival.'''\n    name = '{name}'\n"
        "@hookimpl\ndef register_samplers():\n    return [Mine]\n"
    )
    info = site / f"{dist.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[tunesmith]\n{plugin} = {module}\n")


class TestUpkeep:
    def test_doctor_finds_this_installation_well(self, cli):
        code, out, _ = cli("doctor", "--json")
        found = {one["what"]: one for one in json.loads(out)}
        assert code == 0
        assert found["database"]["state"] == "good" and "journal" in found["database"]["found"]

    def test_doctor_is_1_when_the_home_cannot_be_used(self, cli, home):
        home.write_text("")
        code, out, _ = cli("doctor")
        assert code == 1 and "no home" in out

    def test_a_bug_report_holds_no_name_and_no_password(self, cli, monkeypatch):
        secret = "postgresql://me:hunter2@host/db"
        monkeypatch.setenv("TUNESMITH_DATABASE_URL", secret)
        code, out, _ = cli("env")
        assert code == 0 and "hunter2" not in out and "TUNESMITH_DATABASE_URL" in out
        code, out, _ = cli("db", "status")
        assert "hunter2" not in out

    def test_a_database_url_that_is_none_is_explained(self, cli, monkeypatch):
        monkeypatch.setenv("TUNESMITH_DATABASE_URL", "mysql://host/db")
        assert "SQLite file or PostgreSQL" in cli("db", "status")[1]

    def test_the_database_is_made_and_said_to_be_current(self, cli):
        assert "Upgraded from nothing" in cli("db", "upgrade")[1]
        assert "already" in cli("db", "upgrade")[1]
        assert cli("db", "status")[0] == 0

    def test_gc_deletes_nothing_unasked(self, cli, home):
        opened = store.open()
        work = home / "work" / ("a" * 64)
        work.mkdir(parents=True)
        (work / "checkpoint").write_bytes(b"x" * 1000)
        code, out, _ = cli("gc", "--dry-run")
        assert code == 0 and "1 folders, 1.0 kB, may be deleted" in out and work.exists()
        code, _, err = cli("gc", "--json")
        assert code == 2 and "--yes" in err and work.exists()
        code, out, _ = cli("gc", "--yes", "--json")
        assert json.loads(out)["deleted"] is True and not work.exists()
        assert "Nothing to delete." in cli("gc", "--yes")[1]
        opened.close()

    def test_gc_keeps_the_checkpoints_an_unfinished_run_goes_on_with(self, cli, home):
        from tunesmith.store import ledger

        opened = store.open()
        run = runs.create(opened, "demo", {})
        ledger.fail(opened, ledger.begin(opened, run, "tune", "b" * 64), "no power")
        runs.set_status(opened, run, "FAILED")
        (home / "work" / ("b" * 64)).mkdir(parents=True)
        assert "Nothing to delete." in cli("gc", "--yes")[1]
        assert "1 folders" in cli("gc", "--yes", "--unfinished")[1]

    def test_the_version_is_the_distribution_s(self, cli):
        from importlib.metadata import version

        assert cli("--version")[1] == f"tunesmith {version('tunesmith')}\n"


class TestData:
    def test_what_the_model_will_see_is_shown_with_its_mask(self, cli, lifecycle):
        code, out, _ = cli("data", "show", lifecycle, "--rows", "2", "--json")
        rows = json.loads(out)
        assert code == 0 and len(rows) == 2
        for row in rows:
            given, learnt = row["pieces"]
            assert (given["learnt"], learnt["learnt"]) == (False, True)
            assert row["tokens"] == sum(len(piece["ids"]) for piece in row["pieces"])

    def test_a_file_of_rows_can_be_shown_too(self, cli, tmp_path):
        data = tmp_path / "rows.jsonl"
        data.write_text('{"prompt": "Say [bold]a[/bold].", "completion": "a"}\n')
        code, out, _ = cli("data", "show", data, "--model", tiny_model())
        assert code == 0 and "[bold]" in out and "learnt" in out

    def test_a_split_without_rows_is_said(self, cli, lifecycle):
        code, _, err = cli("data", "show", lifecycle, "--split", "tests")
        assert code == 2 and "There is no split 'tests'" in err


def test_a_schedule_with_a_wrong_config_never_begins(cli, tmp_path):
    code, _, err = cli("schedule", tmp_path / "no.yaml", "--cron", "* * * * *")
    assert code == 2 and "There is no file" in err


def test_the_console_script_answers(tmp_path):
    script = Path(sys.executable).with_name("tunesmith")
    done = subprocess.run(
        [script, "runs", "list", "--home", tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.startswith("No runs yet.")


@pytest.mark.slow
def test_a_run_stopped_with_ctrl_c_can_be_resumed(lifecycle, home):
    """The first Ctrl-C ends a run at its next checkpoint, with code 130 and no traceback."""
    script = Path(sys.executable).with_name("tunesmith")
    many = "data.sources.0.train=200000"
    process = subprocess.Popen(
        [script, "run", lifecycle, "--set", many], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    opened, deadline = None, time.monotonic() + 300
    while time.monotonic() < deadline:
        time.sleep(0.5)
        if (home / "tunesmith.db").exists():
            opened = opened or store.open()
            from tunesmith.store import queries

            found = queries.runs(opened)
            if found and queries.stages(opened, found[0].id):
                break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert queries.runs(opened)[0].status == "STOPPED"
