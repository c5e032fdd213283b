"""A folder of artifacts, and artifacts to put into it."""

from pathlib import Path

import pytest

from tunesmith.store import Artifact, ArtifactStore


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def make(artifacts: ArtifactStore, text: str = "hello", **facts: object) -> Artifact:
    with artifacts.draft("dataset") as draft:
        (draft.path / "train.jsonl").write_text(text)
        (draft.path / "more").mkdir()
        (draft.path / "more" / "card.json").write_text("{}")
        return draft.commit(**facts)


def leftovers(artifacts: ArtifactStore) -> list[str]:
    return sorted(path.name for path in artifacts.drafts.iterdir())
