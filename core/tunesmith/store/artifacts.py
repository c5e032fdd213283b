"""Immutable results in folders named by content, each with a manifest checked on reading."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tunesmith.errors import ArtifactError, StoreError, did_you_mean
from tunesmith.store import manifest as manifests
from tunesmith.store import scratch
from tunesmith.store.columns import now
from tunesmith.store.failures import disk_errors, disk_reason


@dataclass(frozen=True, slots=True)
class Artifact:
    """A finished result: its folder is complete, and is what the manifest says."""

    id: str
    kind: str
    path: Path
    manifest: dict[str, Any]

    @property
    def digest(self) -> str:
        """The sha256 that the id abbreviates."""
        return str(self.manifest["digest"])

    @property
    def inputs(self) -> list[str]:
        """The ids of the artifacts this one was made from."""
        return list(self.manifest["inputs"])

    @property
    def metrics(self) -> dict[str, Any]:
        """What was measured while making it (deterministic; no timings)."""
        return dict(self.manifest["metrics"])

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(self.manifest["sizes"].values())


@dataclass(slots=True)
class ArtifactStore:
    """The folder of artifacts. ``index`` is told of every commit (the database's copy of it)."""

    root: Path
    index: Callable[[Artifact], None] | None = None

    def draft(self, kind: str) -> Draft:
        """Return a draft for a ``with``: fill ``draft.path``, then ``draft.commit()``."""
        if not manifests.KIND.fullmatch(kind):
            raise ArtifactError(f"{kind!r} is not a kind; use small letters, digits and '_'.")
        return Draft(self, kind)

    def get(self, artifact_id: str) -> Artifact:
        """Return a stored artifact after checking every file against its manifest.

        Raises ArtifactError, naming the file, when anything is missing, truncated, altered or
        added. Files this process has already checked are read again only if they changed.
        """
        folder = self._folder(artifact_id)
        if folder.is_symlink() or not folder.is_dir():
            raise ArtifactError(
                f"No artifact {artifact_id!r} in {self.root}."
                f"{did_you_mean(artifact_id, self.ids())} Run the stage that makes it again."
            )
        with disk_errors(self.root):
            return _opened(folder)

    def exists(self, artifact_id: str) -> bool:
        """Whether the artifact's folder is there (not whether it is intact)."""
        return self._folder(artifact_id).is_dir()

    def ids(self) -> list[str]:
        """Return the ids of everything stored, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(
            entry.name
            for entry in os.scandir(self.root)
            if manifests.ARTIFACT_ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
        )

    def sweep(self) -> list[Path]:
        """Remove the drafts that dead processes left behind; return their paths."""
        with disk_errors(self.root):
            return scratch.sweep(self.drafts)

    @property
    def drafts(self) -> Path:
        """Where drafts are filled: on the same disk, so that a rename can publish them."""
        return self.root / ".drafts"

    def _folder(self, artifact_id: str) -> Path:
        if not manifests.ARTIFACT_ID.fullmatch(artifact_id):
            raise ArtifactError(
                f"{artifact_id!r} is not an artifact id; they look like model-0123456789abcdef."
            )
        return self.root / artifact_id


@dataclass(slots=True)
class Draft:
    """A folder being filled. Left without ``commit``, or by an exception, it is removed."""

    store: ArtifactStore
    kind: str
    path: Path = field(default=Path(), init=False)

    def __enter__(self) -> Draft:
        with disk_errors(self.store.root):
            self.path = scratch.create(self.store.drafts, self.kind)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        reason = disk_reason(error, self.store.root) if error and kind is not StoreError else None
        scratch.drop(self.path)
        if reason:
            raise StoreError(reason) from error

    def commit(
        self,
        *,
        inputs: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        seed: int | None = None,
        metrics: Mapping[str, Any] | None = None,
        versions: Mapping[str, Any] | None = None,
        fingerprint: str | None = None,
    ) -> Artifact:
        """Make the draft an artifact: hash, write the manifest, flush to disk, rename.

        ``inputs`` are artifact ids. The id depends on the kind, the files, and inputs, config,
        seed and metrics alone; the same content committed again is the same folder. Raises
        ArtifactError for pickles, links, odd names and unknown inputs; StoreError for a full disk.
        """
        for missing in (one for one in inputs if not self.store.exists(one)):
            raise ArtifactError(f"The input {missing!r} is not in {self.store.root}.")
        manifest = {
            "kind": self.kind,
            "inputs": list(inputs),
            "config": dict(config or {}),
            "seed": seed,
            "metrics": dict(metrics or {}),
        }
        with disk_errors(self.store.root):
            manifest |= _described(self.path)
            digest = manifests.digest_of(manifest)
            name = f"{self.kind}-{digest[:16]}"
            manifest |= {"id": name, "digest": digest, "versions": dict(versions or {})}
            manifest |= {"fingerprint": fingerprint, "created_at": now().isoformat()}
            _write_flushed(self.path / manifests.NAME, manifest)
            return _published(self.store, self.path, name)


def _described(folder: Path) -> dict[str, Any]:
    """Hash every file of a draft and flush it to the disk."""
    # A draft that began as a copy of an artifact still has that one's manifest.
    (folder / manifests.NAME).unlink(missing_ok=True)
    for name in manifests.list_files(folder):
        manifests.refuse_pickle(folder / name, name)
        scratch.flush(folder / name)
    for inner in (path for path in folder.rglob("*") if path.is_dir()):
        scratch.flush(inner)
    listed = manifests.list_files(folder)
    return {
        "files": {name: manifests.hash_file(folder / name) for name in listed},
        "sizes": {name: facts.st_size for name, facts in listed.items()},
    }


def _write_flushed(path: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
    with path.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    scratch.flush(path.parent)


def _published(store: ArtifactStore, draft: Path, name: str) -> Artifact:
    """Rename the draft to its name, unless the same content is there, and tell the index.

    ``gc`` deletes under the index's lock: what is still there once the index knows of it, stays.
    """
    folder = store.root / name
    while True:
        _place(draft, folder)
        artifact = _opened(folder)
        if store.index is not None:
            store.index(artifact)
        if folder.is_dir():
            return artifact
        if not draft.is_dir():
            raise StoreError(f"{folder} was deleted while it was stored; start the stage again.")


def _place(draft: Path, folder: Path) -> None:
    if folder.exists():
        try:
            _opened(folder)
        except ArtifactError:
            # Damaged since. What was just made has the same name, so it is the same, but intact.
            folder.rename(scratch.aside(draft))
        else:
            return
    try:
        draft.rename(folder)
    except OSError as error:
        # Somebody else has just stored the same content.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    scratch.flush(folder.parent)


def _opened(folder: Path) -> Artifact:
    manifest = manifests.checked(folder)
    return Artifact(folder.name, manifest["kind"], folder, manifest)
