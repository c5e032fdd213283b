"""Read the small files of an artifact; each is checked against the manifest before it is believed.

``artifacts.get`` hashes the whole folder, model weights included; a report needs a few kilobytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunesmith.errors import ArtifactError
from tunesmith.store import Store
from tunesmith.store import manifest as manifests


def read_manifest(store: Store, artifact_id: str) -> dict[str, Any]:
    """Return an artifact's manifest; raise ArtifactError when it is not there or was altered."""
    folder = store.artifacts.root / artifact_id
    if not folder.is_dir():
        raise ArtifactError(f"{artifact_id} is no longer stored.")
    return manifests.read(folder)


def checked(store: Store, artifact_id: str, name: str) -> Path:
    """Return the path of one file; raise ArtifactError when it is missing or was altered."""
    told = read_manifest(store, artifact_id)["files"]
    path = store.artifacts.root / artifact_id / name
    if name not in told:
        raise ArtifactError(f"{artifact_id} holds no {name}.")
    if not path.is_file():
        raise ArtifactError(f"{name} of {artifact_id} is missing; run the stage again.")
    if manifests.hash_file(path) != told[name]:
        raise ArtifactError(f"{name} of {artifact_id} was altered; run the stage again.")
    return path


def read_json(store: Store, artifact_id: str, name: str) -> Any:
    """Return the value in a JSON file of an artifact."""
    path = checked(store, artifact_id, name)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{name} of {artifact_id} is not JSON: {error}.") from error


def read_lines(store: Store, artifact_id: str, name: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON lines file of an artifact."""
    with checked(store, artifact_id, name).open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield dict(json.loads(line))
            except (ValueError, TypeError) as error:
                raise ArtifactError(
                    f"Line {number} of {name} in {artifact_id} is no object."
                ) from error
