"""What deployers promise."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tunesmith.contracts.rules import Breach, Subject, must_be, must_be_json, plainly


def _bundle(folder: Path) -> Path:
    """Return a folder like the one a release hands over."""
    bundle = folder / "bundle"
    bundle.mkdir()
    (bundle / "config.json").write_text('{"model_type": "llama"}\n', encoding="utf-8")
    (bundle / "model.safetensors").write_bytes(bytes(range(256)) * 8)
    return bundle


def _digest(folder: Path) -> str:
    hasher = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        hasher.update(path.name.encode() + path.read_bytes())
    return hasher.hexdigest()


def _deployed(deployer: Any, bundle: Path) -> dict[str, Any]:
    place: dict[str, Any] = deployer.deploy(bundle)
    must_be(place, dict, "deploy()", "a dict that says where the model is")
    return place


def says_where(subject: Subject) -> None:
    """deploy(bundle) returns a dict of JSON values that says where the model is."""
    place = _deployed(subject.build(), _bundle(subject.folder))
    must_be_json(place, "what deploy() returns")
    if not place:
        raise Breach("does not say where the model is; return e.g. {'path': ...}")


def can_be_repeated(subject: Subject) -> None:
    """Deploying the same bundle again works; a killed release is resumed."""
    deployer, bundle = subject.build(), _bundle(subject.folder)
    _deployed(deployer, bundle)
    try:
        _deployed(deployer, bundle)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise Breach(f"raised {what} when the same bundle was deployed again") from error


def leaves_the_bundle_alone(subject: Subject) -> None:
    """It copies what it needs and changes nothing in the bundle."""
    bundle = _bundle(subject.folder)
    before = _digest(bundle)
    _deployed(subject.build(), bundle)
    if not bundle.is_dir() or _digest(bundle) != before:
        raise Breach("changed or moved the bundle; copy what it needs")


DEPLOYER = plainly(says_where, can_be_repeated, leaves_the_bundle_alone)
