"""Write an installable package with one working technique in it."""

from __future__ import annotations

import keyword
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from tunesmith import plugins
from tunesmith.errors import ConfigError, PluginError
from tunesmith.techniques import Technique

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LONGEST = 50
_EXAMPLE = re.compile(r"\bExample\b")


@dataclass(frozen=True, slots=True)
class Made:
    """What was written."""

    folder: Path
    distribution: str
    module: str
    family: str
    technique: str
    files: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Return it as JSON, with the commands that come next."""
        return asdict(self) | {"folder": str(self.folder), "next": self.next()}

    def next(self) -> list[str]:
        """Return the commands that install and try the plugin."""
        return [
            f"pip install -e {self.folder}",
            f"tunesmith plugins test {self.distribution}",
            f"tunesmith plugins show {snake(self.family)} {self.technique}",
        ]


def write(name: str, family: type[Technique], out: Path) -> Made:
    """Write the package ``tunesmith-NAME`` below ``out``, whole or not at all.

    Raises ConfigError for a name that is no name or a place that cannot be written to, and
    PluginError for the name of a technique that there is already.
    """
    _check_name(name)
    _check_free(name, family)
    dashed = name.replace("_", "-")
    made = Made(
        folder=out.expanduser().absolute() / f"tunesmith-{dashed}",
        distribution=f"tunesmith-{dashed}",
        module=f"tunesmith_{name}",
        family=family.family,
        technique=name,
        files=("pyproject.toml", "README.md", f"tunesmith_{name}.py", f"tests/test_{name}.py"),
    )
    if made.folder.exists():
        raise ConfigError(f"{made.folder} is there already; choose another name, or another --out.")
    _write_whole(made)
    return made


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) and not keyword.iskeyword(name) and len(name) <= _LONGEST:
        return
    likely = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789")[:_LONGEST]
    hint = f" Did you mean {likely!r}?" if _NAME.fullmatch(likely) and likely != name else ""
    raise ConfigError(
        f"{name!r} cannot name a technique.{hint} Use lower-case letters, digits and single"
        f" underscores, a letter first, at most {_LONGEST} of them, and no Python keyword."
    )


def _check_free(name: str, family: type[Technique]) -> None:
    host = plugins.host()
    if name in host.available(family):
        where = host.sources[family.family, name]
        raise PluginError(
            f"There is a {family.family} named {name!r} already, from {where}; two of one name"
            " belong to nobody. Choose another name."
        )


def _write_whole(made: Made) -> None:
    out = made.folder.parent
    try:
        out.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".tunesmith-new-", dir=out))
    except OSError as error:
        raise ConfigError(
            f"Cannot write to {out}: {error.strerror}. Give another --out."
        ) from error
    try:
        for path, text in _contents(made).items():
            (fresh / path).parent.mkdir(exist_ok=True)
            (fresh / path).write_text(text, encoding="utf-8")
        fresh.chmod(0o755)  # mkdtemp's folders are closed to everybody else
        fresh.rename(made.folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _contents(made: Made) -> dict[str, str]:
    pyproject, readme, module, test = made.files
    template = snake(made.family)
    return {
        pyproject: _PYPROJECT.format(**asdict(made), tab=template),
        readme: _README.format(**asdict(made), tab=template),
        module: _own(_example(template), made, template),
        test: _own(_example(f"{template}_test"), made, template),
    }


def _example(name: str) -> str:
    place = resources.files("tunesmith.scaffold.examples")
    return place.joinpath(f"{name}.py").read_text(encoding="utf-8")


def _own(text: str, made: Made, template: str) -> str:
    """Give a worked example the new technique's name."""
    text = text.replace(f"tunesmith.scaffold.examples.{template}", made.module)
    text = _EXAMPLE.sub(camel(made.technique), text)
    return text.replace('"example"', f'"{made.technique}"')


def snake(family: str) -> str:
    """Return ``training_method`` for ``TrainingMethod``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", family).lower()


def camel(name: str) -> str:
    """Return ``TopNsigma`` for ``top_nsigma``."""
    return "".join(part.capitalize() for part in name.split("_"))


_PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{distribution}"
version = "0.1.0"
description = "The {family} {technique} for Tunesmith."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["tunesmith"]

[project.optional-dependencies]
test = ["pytest"]

# One line per module with techniques: the plugin's name, and where it is.
[project.entry-points.tunesmith]
"{tab}.{technique}" = "{module}"

[tool.setuptools]
py-modules = ["{module}"]

[tool.pytest.ini_options]
testpaths = ["tests"]
# Every promise of the family is a test of its own; see `tunesmith plugins test`.
tunesmith_contract = ["{module}"]
"""
_README = """\
# {distribution}

The {family} `{technique}` for [Tunesmith](https://pypi.org/project/tunesmith/).

```
pip install -e '.[test]'                       install what you are working on
pytest                                         your tests, and the family's contracts
tunesmith plugins test {distribution}
tunesmith plugins show {tab} {technique}
```

`{module}.py` is a small technique that works. Change what it does, its docstring and
its options; what every {family} must keep to is in Tunesmith's guide for plugin authors.
"""
