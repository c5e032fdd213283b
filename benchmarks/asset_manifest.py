"""Write the manifest of a built-in model: the sha256 of each file.

python benchmarks/asset_manifest.py core/tunesmith/assets/nano
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path


def main(folder: Path) -> None:
    """Hash every file but the manifest itself."""
    files = sorted(p for p in folder.iterdir() if p.name != "manifest.json")
    hashes = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    text = json.dumps({"kind": "model", "files": hashes}, indent=2)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
