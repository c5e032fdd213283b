"""Programs that models write: right ones pass, wrong ones fail, tricks score nothing."""

import os
import resource
import signal
import time
from pathlib import Path

import pytest

from tunesmith import DataError
from tunesmith.pyrules import TOO_MUCH
from tunesmith.pyrunner import Runner, check_many, same

ONE = [[[1], 1]]

HONEST = {
    "arithmetic": ("def f(x):\n    return (x + 3) * 2 - 7", [[[2], 3], [[5], 9]]),
    "loop": (
        "def f(s):\n    n = 0\n    for c in s:\n        if c == 'a': n += 1\n    return n",
        [[["banana"], 3]],
    ),
    "comprehension": (
        "def f(l):\n    return [n * 2 for n in l if n % 2 == 0]",
        [[[[1, 2, 4]], [4, 8]]],
    ),
    "slices": ("def f(s):\n    return s[::-1][:2] * 2", [[["abc"], "cbcb"]]),
    "helper": ("def g(x):\n    return x + 1\n\ndef f(x):\n    return g(g(x))", [[[1], 3]]),
    "flatten": ("def f(l):\n    return sum(l, [])", [[[[[1], [2, 3]]], [1, 2, 3]]]),
    "recursion": ("def f(n):\n    return 1 if n < 2 else n * f(n - 1)", [[[5], 120]]),
    "lambda": ("def f(l):\n    return sorted(l, key=lambda n: -n)", [[[[1, 3, 2]], [3, 2, 1]]]),
    "hints": (
        "def f(x: List[int]) -> Optional[int]:\n    y: int = max(x)\n    return y",
        [[[[1, 3]], 3]],
    ),
    "methods": ("def f(s):\n    return '-'.join(s.upper().split())", [[["a b"], "A-B"]]),
    "dict": (
        "def f(s):\n    d = {}\n    for c in s:\n        d[c] = d.get(c, 0) + 1\n    return d",
        [[["aba"], {"a": 2, "b": 1}]],
    ),
    "while": (
        "def f(n):\n    c = 0\n    while n > 1:\n        n = n // 2 if n % 2 == 0 else 3 * n + 1\n"
        "        c += 1\n    return c",
        [[[27], 111]],
    ),
    "fstring": ("def f(x):\n    return f'<{x}>'", [[["a"], "<a>"]]),
    "augmented": (
        "def f(x):\n    l = [1]\n    l[0] *= x\n    x **= 2\n    return [l[0], x]",
        [[[3], [3, 9]]],
    ),
}

CHEATS = {
    "equal to everything": "class A:\n    def __eq__(self, o): return True\ndef f(x): return A()",
    "exit on load": "import sys\nsys.exit(0)\ndef f(x):\n    return 1",
    "exit in call": "def f(x):\n    exit()",
    "os._exit": "def f(x):\n    __import__('os')._exit(0)",
    "says PASS": "print('PASS')\ndef f(x):\n    print('PASS')",
    "true is not one": "def f(x):\n    return True",
    "endless loop": "def f(x):\n    while True:\n        pass",
    "endless list": "def f(x):\n    l = [1]\n    for a in l:\n        l.append(a)\n    return 1",
    "endless on load": "while True:\n    pass\ndef f(x):\n    return 1",
    "long text": "def f(x):\n    return 'a' * 10**9",
    "long list": "def f(x):\n    return [0] * 10**9",
    "tower": "def f(x):\n    return 9**9**9",
    "shift": "def f(x):\n    return 1 << 10**10",
    "squaring": "def f(x):\n    x = 9\n    for i in range(60):\n        x *= x\n    return x",
    "doubling": "def f(x):\n    l = [1]\n    while True:\n        l += l",
    "nested ranges": "def f(x):\n    return sum(1 for a in range(10**5) for b in range(10**5))",
    "huge range": "def f(x):\n    return sum(range(10**12))",
    "summing lists": "def f(x): return sum([[0] * 1000] * 90000, [])",
    "output flood": "def f(x):\n    for i in range(10**5): print('x' * 1000)\n    return 0",
    "result flood": "def f(x):\n    return ['a' * 90000] * 90000",
    "deep recursion": "def f(x):\n    return f(x)",
    "deep result": "def f(x):\n    l = []\n    for i in range(10**5): l = [l]\n    return l",
    "deep source": "(" * 5000,
    "deep source 2": "-" * 9000 + "1",
    "frames": "def f(x):\n    return (a for a in [1]).gi_frame",
    "classes": "def f(x):\n    return x.__class__.__base__.__subclasses__()",
    "format attributes": "def f(x):\n    return '{0.__class__}'.format(x)",
    "format bomb": "def f(x):\n    return f'{x:>1000000000}'",
    "percent bomb": "def f(x):\n    return '%1000000000d' % x",
    "builtins": "def f(x):\n    return __builtins__['open']",
    "the guards": "def f(x):\n    return _tick",
    "catching": "def f(x):\n    try:\n        while True: pass\n    except: return 1",
    "open": "def f(x):\n    return open('/etc/passwd')",
    "eval": "def f(x):\n    return eval('1')",
    "global": "def f(x):\n    global y\n    y = 1\n    return y",
    "not a number": "def f(x):\n    return float('nan')",
    "a set": "def f(x):\n    return {1}",
    "a generator": "def f(x):\n    return (a for a in [1])",
    "NUL": "def f(x):\n    return 1\0",
    "surrogate": "def f(x):\n    return '\ud800'",
    "too long": "def f(x):\n    return 0\n" + "#" * 20_000,
    "not the name": "def g(x):\n    return 1",
    "nothing": "",
    "prose": "The function returns 1.",
}


@pytest.fixture(scope="module")
def runner():
    with Runner() as one:
        yield one


@pytest.mark.parametrize("name", HONEST)
def test_honest_programs_pass(name, runner):
    code, tests = HONEST[name]
    assert runner.check((code, "f", tests)).passed, runner.check((code, "f", tests)).reason


@pytest.mark.parametrize("name", CHEATS)
def test_tricks_score_nothing_and_the_next_program_still_runs(name, runner):
    result = runner.check((CHEATS[name], "f", ONE))
    assert not result.passed
    assert result.reason
    assert runner.check(("def f(x):\n    return x", "f", ONE)).passed


def test_every_test_must_pass_and_the_first_difference_is_told():
    result = check_many([("def f(x):\n    return x", "f", [[[1], 1], [[2], 3], [[4], 5]])])[0]
    assert (result.passed, result.passed_tests, result.tests) == (False, 1, 3)
    assert result.reason == "(2) gives 2, not 3"


def test_a_program_cannot_leave_anything_for_the_next(runner):
    runner.check(("x = 5\nlen = 7\ndef f(a):\n    return 1", "f", ONE))
    assert runner.check(("def f(a):\n    return len('a')", "f", ONE)).passed
    assert not runner.check(("def f(a):\n    return x", "f", [[[1], 5]])).passed


def test_the_order_of_a_set_is_the_same_in_every_worker():
    code = "def f(s):\n    return list(set(s.split()))"
    told = set()
    for _ in range(3):
        with Runner() as runner:
            told.add(runner.check((code, "f", [[["red green blue pink gold"], []]])).reason)
    assert len(told) == 1


def test_the_worker_knows_nothing_of_the_environment_and_holds_no_files(monkeypatch):
    monkeypatch.setenv("A_SECRET", "token")
    with Runner() as runner:
        runner.check(("def f(x):\n    return x", "f", ONE))
        pid = runner._child.pid
        proc = Path(f"/proc/{pid}")
        if not proc.is_dir():
            pytest.skip("no /proc on this system")
        assert "A_SECRET" not in (proc / "environ").read_text()
        assert sorted(entry.name for entry in (proc / "fd").iterdir()) == ["0", "1", "2"]
        limits = (proc / "limits").read_text()
        assert "Max file size             0 " in limits
        assert f"Max address space         {512 * 2**20}" in limits


def test_a_worker_that_is_killed_is_replaced_and_the_verdict_stands():
    with Runner() as runner:
        assert runner.check(("def f(x):\n    return x", "f", ONE)).passed
        os.kill(runner._child.pid, signal.SIGKILL)
        assert runner.check(("def f(x):\n    return x", "f", ONE)).passed


def test_a_worker_that_hangs_is_killed_and_replaced(monkeypatch):
    monkeypatch.setattr("tunesmith.pyrunner.WALL_SECONDS", 0.5)
    with Runner() as runner:
        runner.check(("def f(x):\n    return x", "f", ONE))
        os.kill(runner._child.pid, signal.SIGSTOP)
        assert runner.check(("def f(x):\n    return x", "f", ONE)).reason == TOO_MUCH
        assert runner.check(("def f(x):\n    return x", "f", ONE)).passed


def test_the_worker_ends_with_its_runner():
    runner = Runner()
    runner.check(("def f(x):\n    return x", "f", ONE))
    pid = runner._child.pid
    runner.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_five_hundred_programs_take_less_than_a_second_of_cpu():
    programs = [
        (f"def f(x):\n    return x + {n}", "f", [[[k], k + n] for k in range(6)])
        for n in range(500)
    ]
    begin = time.process_time() + _children()
    with Runner() as runner:
        assert all(result.passed for result in runner.check_all(programs))
    assert time.process_time() + _children() - begin < 1.0


def _children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("tests", [[], [[1, 2]], [[[1]]], [[[float("nan")], 1]], [[[{1}], 1]]])
def test_tests_that_test_nothing_are_an_error_not_a_pass(tests):
    with pytest.raises(DataError):
        check_many([("def f(x):\n    return 1", "f", tests)])


def test_comparison_tells_booleans_from_numbers_and_takes_tuples_for_lists():
    assert not same(True, 1)
    assert not same([1], [True])
    assert not same({"a": 1}, {"a": True})
    assert same((1, 2), [1, 2])
    assert same(2.0, 2)
    assert not same(float("nan"), float("nan"))
    assert not same("1", 1)


def test_a_batch_goes_on_past_programs_that_hang_or_kill_the_worker(monkeypatch):
    monkeypatch.setattr("tunesmith.pyrunner.WALL_SECONDS", 4.0)
    slow = "def f(x):\n    s = 'a' * 90000\n    return s.join([s] * 2000).count(s + 'b')"
    good = "def f(x):\n    return x"
    begin = time.perf_counter()
    with Runner() as runner:
        results = runner.check_all(
            [(code, "f", ONE) for code in (good, slow, good, CHEATS["tower"], good)]
        )
    assert [result.passed for result in results] == [True, False, True, False, True]
    assert time.perf_counter() - begin < 30
