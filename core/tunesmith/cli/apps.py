"""The way to the flows and the dashboard: by name, never by import."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from tunesmith.errors import TunesmithError

GROUP = "tunesmith.apps"


def app(name: str) -> Callable[..., Any]:
    """Return the function that an installed package offers under a name.

    Raises TunesmithError when no package offers it, or the one that does lacks something.
    """
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        raise TunesmithError(
            f"No installed package can {name}. Install Tunesmith whole: `pip install tunesmith`."
        )
    try:
        loaded: Callable[..., Any] = found[name].load()
    except ModuleNotFoundError as error:
        raise TunesmithError(
            f"`tunesmith {name}` needs the module {error.name!r}, which is not installed."
            " Repair the installation: `pip install --upgrade tunesmith`."
        ) from error
    return loaded
