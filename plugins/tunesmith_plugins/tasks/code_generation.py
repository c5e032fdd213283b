"""Small Python functions, judged by running them."""

from __future__ import annotations

import re

from tunesmith import Row, Score, Task, hookimpl
from tunesmith.pyrunner import check_many
from tunesmith_plugins.tasks.limits import reference, unusable

_BLOCK = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)


def extract(answer: str, entry_point: str) -> str:
    """Return the program inside an answer: the block or the lines that define the entry point."""
    blocks = [found.strip("\n") for found in _BLOCK.findall(answer)]
    start = re.compile(rf"^def {re.escape(entry_point)}\b", re.MULTILINE)
    defining = [block for block in blocks if start.search(block)]
    if defining:
        return defining[-1]
    return _definitions(answer) if start.search(answer) else (blocks[-1] if blocks else "")


def _definitions(answer: str) -> str:
    """Return the lines from the first ``def`` on, up to where the prose begins again."""
    kept: list[str] = []
    for line in answer.splitlines():
        code = line.startswith(("def ", " ", "\t", "#")) or not line.strip()
        if kept and not code:
            break
        if kept or line.startswith("def "):
            kept.append(line)
    return "\n".join(kept).rstrip()


class CodeGeneration(Task):
    """Python functions: the first answer has to pass every test (pass@1).

    Programs run in an allow-list interpreter for short functions (see ``tunesmith.pyrunner``):
    imports, classes and exceptions count as wrong.
    """

    name = "code_generation"
    title = "code generation"
    metric = "pass@1"
    one_answer = False
    max_new_tokens: int = 96
    """Longest answer, in tokens."""

    def score(self, row: Row, answer: str) -> Score:
        """Run ``reference.tests``, a list of ``[arguments, expected]``, on the entry point."""
        wanted = reference(row, self.name, "entry_point", "tests")
        trouble = unusable(answer)
        code = "" if trouble else extract(answer, str(wanted["entry_point"]))
        if not code:
            reason = trouble or f"no function {wanted['entry_point']}"
            return Score(0.0, False, "", {"reason": reason})
        result = check_many([(code, str(wanted["entry_point"]), wanted["tests"])])[0]
        details = {"reason": result.reason, "passed": result.passed_tests, "tests": result.tests}
        return Score(float(result.passed), result.passed, code, details)


@hookimpl
def register_tasks() -> list[type[Task]]:
    """Offer code generation."""
    return [CodeGeneration]
