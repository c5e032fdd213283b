"""The other environment: where its interpreter is, what it has, and what it may see of this one."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tunesmith import ModelError

VARIABLE = "TUNESMITH_LLM_COMPRESSOR_PYTHON"
OLDEST = (0, 14)
"""The release whose interface the script speaks; AWQ was another class before."""
_PATIENCE = 60.0
"""Seconds an interpreter gets to say which versions it has."""
_ASKED = ("llmcompressor", "compressed-tensors", "transformers", "torch")
_QUESTION = f"""
import importlib.metadata, json, platform
found = {{"python": platform.python_version()}}
for name in {_ASKED!r}:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""
_KEPT = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_HOME",
    "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
)  # fmt: skip
"""What the child may see: where programs, scratch space and GPUs are."""
_SET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_MININTERVAL": "5",
    "PYTHONUNBUFFERED": "1",
}
_MAKE = (
    "`python3 -m venv ~/llm-compressor`, `~/llm-compressor/bin/pip install llmcompressor==0.14.0.1`"
    f" and `export {VARIABLE}=~/llm-compressor/bin/python`"
)


@dataclass(frozen=True, slots=True)
class Environment:
    """An interpreter that has llm-compressor, and the versions of what it computes with."""

    python: Path
    versions: dict[str, str]

    @classmethod
    def of(cls, python: Path) -> Environment:
        """Ask an interpreter what it has; raise ModelError when that is not enough."""
        versions = _versions(python)
        found = versions.get("llmcompressor")
        if found is None:
            raise ModelError(
                f"{python} has no llmcompressor. Install it there,"
                f" `{python} -m pip install llmcompressor==0.14.0.1`, or make another environment:"
                f" {_MAKE}."
            )
        if tuple(int(part) for part in found.split(".")[:2] if part.isdecimal()) < OLDEST:
            raise ModelError(
                f"{python} has llmcompressor {found}, which is older than"
                f" {'.'.join(map(str, OLDEST))}:"
                f" `{python} -m pip install --upgrade llmcompressor`."
            )
        return cls(python, versions)


def interpreter(named: Path | None) -> Path:
    """Return the path of the interpreter; raise ModelError saying how to make one.

    A virtual environment's interpreter is a link, which must not be followed: only by the link
    does it know where its packages are.
    """
    text = str(named) if named else os.environ.get(VARIABLE, "")
    if not text:
        raise ModelError(
            "llm-compressor needs a Python environment of its own, since it wants an older"
            f" transformers, and none is named. Make one with {_MAKE}."
        )
    path = Path(text).expanduser().absolute()
    if not path.is_file() or not os.access(path, os.X_OK):
        where = "the option `python`" if named else VARIABLE
        raise ModelError(
            f"{path}, which {where} names, is no program. Name the interpreter of an environment"
            f" with llm-compressor; to make one: {_MAKE}."
        )
    return path


def clean(cache: Path) -> dict[str, str]:
    """Return the variables for a child: no Python path of ours, no network, its own cache."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, **_SET, "HF_HOME": str(cache)}


def _versions(python: Path) -> dict[str, str]:
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            env=clean(Path(os.devnull)),
            check=True,
        )
        versions: dict[str, str] = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{python} did not say what it has in {_PATIENCE:.0f} s.") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["nothing"])[-1]
        raise ModelError(
            f"{python} does not run as a Python interpreter ({said}). To make one: {_MAKE}."
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{python} does not run as a Python interpreter ({error}). To make one: {_MAKE}."
        ) from error
    return versions
