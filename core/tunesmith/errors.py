"""Everything Tunesmith raises on purpose.

Each message says what is wrong, the nearest right answer, and what to do. The command line prints
these without a traceback; anything else is a defect and asks for ``--debug``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TunesmithError(Exception):
    """Raised when the user can put something right; the message says how."""


class ConfigError(TunesmithError, ValueError):
    """Raised when a configuration or an override does not say something valid."""


class PluginError(TunesmithError, LookupError):
    """Raised when a technique is unknown, offered twice, or its plugin is broken."""


class DataError(TunesmithError, ValueError):
    """Raised when rows cannot be read or do not have the shape a stage needs."""


class ModelError(TunesmithError, ValueError):
    """Raised when a model folder is missing something, unsafe, or does not fit a technique."""


class EndpointError(TunesmithError, RuntimeError):
    """Raised when a server that a technique asks is not there or does not answer as it should."""


class ArtifactError(TunesmithError, ValueError):
    """Raised when a stored artifact is missing, truncated or altered."""


class StoreError(TunesmithError, RuntimeError):
    """Raised when the database or the home folder cannot be used."""


class GateRefused(TunesmithError):
    """Raised when the evidence does not carry a model past a gate."""


class Waiting(TunesmithError):
    """Raised by a stage that cannot go on until people have done something.

    ``reason`` is stored with the run, which then holds no process until ``tunesmith resume``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Stopped(TunesmithError):
    """Raised inside long work after Ctrl-C, once its checkpoint is safely written."""


def did_you_mean(wanted: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest known name, or an empty string."""
    close = difflib.get_close_matches(wanted, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
