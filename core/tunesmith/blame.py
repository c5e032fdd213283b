"""Whose fault an exception is: the plugin in whose code it was raised.

Nothing is wrapped and nothing is paid until something has gone wrong; then the traceback says which
technique was at work.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import FrameType, TracebackType

from tunesmith.errors import PluginError, TunesmithError
from tunesmith.plugin_host import Host, Provenance
from tunesmith.techniques import Technique

_FAMILIES = Technique.__module__
OWN = "tunesmith"
"""The distribution whose defects are not a stranger's."""


def in_words(error: BaseException, technique: type[Technique]) -> str:
    """Say what a technique raised and where, as the end of a sentence that names it."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [frame.f_code.co_name for frame in frames]
    if isinstance(error, NotImplementedError) and _module(frames[-1]) == _FAMILIES:
        return f"does not define its verb `{names[-1]}`"
    what = _what(error)
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if _belongs(frame, technique.__module__):
            place = f"line {line} of {Path(frame.f_code.co_filename).name}"
            return f"raised {what} in {frame.f_code.co_name}, {place}"
    return f"cannot be called the way its family is ({what})"


def _what(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"SystemExit ({error.code!r}), which would end the whole run,"
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _belongs(frame: FrameType, module: str) -> bool:
    """Say whether a frame runs the module's code, or that of its package."""
    return _module(frame).partition(".")[0] == module.partition(".")[0]


def foreign(host: Host) -> dict[str, tuple[type[Technique], Provenance]]:
    """Return the techniques of third parties by the package their code is in."""
    found = {}
    for (family, name), where in host.sources.items():
        if where.distribution != OWN:
            technique = host.techniques[family][name]
            found[technique.__module__.partition(".")[0]] = technique, where
    return found


def at_fault(host: Host, trace: TracebackType | None) -> tuple[type[Technique], Provenance] | None:
    """Return the third-party technique whose code was innermost when something was raised."""
    strangers = foreign(host)
    for frame, _ in reversed(list(traceback.walk_tb(trace))):
        own = frame.f_locals.get("self")
        if _module(frame) == _FAMILIES and isinstance(own, Technique):
            package = type(own).__module__.partition(".")[0]  # it lacks the family's verb
        else:
            package = _module(frame).partition(".")[0]
        if package in strangers:
            return _exactly(host, strangers[package], frame)
    return None


def _exactly(
    host: Host, guess: tuple[type[Technique], Provenance], frame: FrameType
) -> tuple[type[Technique], Provenance]:
    """Return the technique defined in the very module, where a package holds several."""
    own = frame.f_locals.get("self")
    if isinstance(own, Technique) and (own.family, own.name) in host.sources:
        return type(own), host.provenance(own)
    for (family, name), where in host.sources.items():
        if host.techniques[family][name].__module__ == _module(frame):
            return host.techniques[family][name], where
    return guess


def blamed(error: BaseException) -> BaseException:
    """Return a PluginError naming technique, plugin and distribution, or the error as it is.

    Errors that Tunesmith's own words explain (a full disk, memory, anything raised on purpose) and
    Ctrl-C stay what they are.
    """
    plugins = sys.modules.get("tunesmith.plugins")
    if plugins is None or isinstance(
        error, (TunesmithError, MemoryError, KeyboardInterrupt, GeneratorExit)
    ):
        return error
    known = getattr(plugins.host, "cache_info", None)
    if known is not None and not known().currsize:  # none is loaded, so none raised anything
        return error
    found = at_fault(plugins.host(), error.__traceback__)
    if found is None:
        return error
    technique, where = found
    return PluginError(
        f"The {technique.family} {technique.name!r} of the plugin {where}"
        f" {in_words(error, technique)}. This is a defect of that plugin."
    )
