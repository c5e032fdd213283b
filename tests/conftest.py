"""Fixtures for every test; each group lives in a module of its own."""

import sys
from pathlib import Path

# Appended, so that nothing below tests/ can hide an installed package.
sys.path.append(str(Path(__file__).parent))

pytest_plugins = ["databases", "artifact_folders"]
