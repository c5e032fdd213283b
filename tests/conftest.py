"""Fixtures for every test; each group lives in a module of its own."""

import os
import sys
import tempfile
from pathlib import Path

# Whatever a test forgets to say, it never touches the home of whoever runs it.
os.environ["TUNESMITH_HOME"] = tempfile.mkdtemp(prefix="tunesmith-tests-")

# Appended, so that nothing below tests/ can hide an installed package.
sys.path.append(str(Path(__file__).parent))

pytest_plugins = ["databases", "artifact_folders"]
