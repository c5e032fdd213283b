"""The deployer packs a bundle."""

import zipfile
from pathlib import Path

from tunesmith.scaffold.examples.deployer import Example


def test_the_file_holds_everything_and_a_second_release_replaces_it(tmp_path: Path) -> None:
    """Folders inside the bundle included."""
    bundle = tmp_path / "bundle"
    (bundle / "evidence").mkdir(parents=True)
    (bundle / "config.json").write_text("{}")
    (bundle / "evidence" / "card.json").write_text("[]")
    deployer = Example(path=tmp_path / "model.zip")
    deployer.deploy(bundle)
    (bundle / "config.json").write_text('{"a": 1}')
    place = deployer.deploy(bundle)
    with zipfile.ZipFile(place["path"]) as packed:
        assert sorted(packed.namelist()) == ["config.json", "evidence/card.json"]
        assert packed.read("config.json") == b'{"a": 1}'
    assert Example(path=tmp_path / "nowhere" / "m.zip").problems()
