"""Where Tunesmith keeps its things, and what the environment says about it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from tunesmith.errors import StoreError


@dataclass(frozen=True, slots=True)
class Home:
    """The folder that holds the database, the artifacts and everything else."""

    path: Path

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL: ``TUNESMITH_DATABASE_URL``, else a SQLite file in the home."""
        return os.environ.get("TUNESMITH_DATABASE_URL") or f"sqlite:///{self.path / 'tunesmith.db'}"

    @property
    def artifacts(self) -> Path:
        """Immutable results, named by content."""
        return self.path / "artifacts"

    @property
    def work(self) -> Path:
        """Checkpoints of unfinished stages."""
        return self.path / "work"

    @property
    def prefect(self) -> Path:
        """Prefect's own database and logs; nothing here that cannot be rebuilt."""
        return self.path / "prefect"

    @property
    def engines(self) -> Path:
        """What engines were measured to do on this machine; it is measured again when lost."""
        return self.path / "engines"

    @property
    def plugin_settings(self) -> Path:
        """The names of disabled plugins."""
        return self.path / "plugins.json"

    def prepare(self) -> Home:
        """Create the folder; raise StoreError when that is not possible."""
        try:
            for folder in (self.path, self.artifacts, self.work):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"Cannot write to the home folder {self.path}: {error.strerror}."
                " Set TUNESMITH_HOME to a folder you may write to."
            ) from error
        if not os.access(self.path, os.W_OK):
            raise StoreError(
                f"The home folder {self.path} is read-only."
                " Set TUNESMITH_HOME to a folder you may write to."
            )
        return self


def home() -> Home:
    """Return the home folder: ``TUNESMITH_HOME``, else ``~/.tunesmith``."""
    return Home(Path(os.environ.get("TUNESMITH_HOME") or Path.home() / ".tunesmith").absolute())


def disabled_plugins() -> set[str]:
    """Return the plugins switched off by setting or by ``TUNESMITH_DISABLE=a,b``."""
    named = {n.strip() for n in os.environ.get("TUNESMITH_DISABLE", "").split(",") if n.strip()}
    return named | set(_stored_disabled())


def _stored_disabled() -> list[str]:
    path = home().plugin_settings
    if not path.is_file():
        return []
    try:
        return [str(n) for n in json.loads(path.read_text(encoding="utf-8")).get("disabled", [])]
    except (ValueError, AttributeError, TypeError) as error:
        raise StoreError(f"{path} is not valid JSON ({error}); delete it to enable all.") from error


def set_plugin(name: str, *, enabled: bool) -> None:
    """Remember that a plugin is on or off; `a-b` and `a_b` are one name."""
    names = {one for one in _stored_disabled() if plain(one) != plain(name)}
    names |= set() if enabled else {name}
    path = home().prepare().plugin_settings
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fresh.write_text(json.dumps({"disabled": sorted(names)}, indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)


def plain(name: str) -> str:
    """Fold the spellings that package indexes treat as one name."""
    return name.strip().lower().replace("-", "_")
