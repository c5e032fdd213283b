"""The command line. Nothing here imports more than it takes to say what the commands are."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; see ``boundary`` for what the codes mean."""
    import sys

    from tunesmith.cli.boundary import guarded

    return guarded(list(sys.argv[1:] if argv is None else argv))
