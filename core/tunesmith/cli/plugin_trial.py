"""How trying a plugin's techniques looks on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from tunesmith.cli.screen import console, say
from tunesmith.contracts import Report, Result, check
from tunesmith.errors import ConfigError


def options(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return ``NAME.OPTION=VALUE`` settings as options by technique; values are YAML."""
    import yaml

    found: dict[str, dict[str, Any]] = {}
    for one in settings:
        place, equals, value = one.partition("=")
        name, _, key = place.partition(".")
        if not (equals and name and key):
            raise ConfigError(f"--set takes NAME.OPTION=VALUE, e.g. min_p.p=0.2; got {one!r}.")
        try:
            found.setdefault(name, {})[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {place}: {value!r} is not a YAML value.") from error
    return found


def tried(
    target: str, chosen: dict[str, dict[str, Any]], timeout: float | None, *, quiet: bool
) -> Report:
    """Try everything; where somebody watches, show what is being tried."""
    screen = console(stderr=True)
    if quiet or not screen.is_terminal:
        return check(target, chosen, timeout)
    with screen.status(f"loading {target}") as status:

        def told(result: Result) -> None:
            status.update(f"{result.family} {result.technique}: {result.contract}")

        return check(target, chosen, timeout, told)


def show(report: Report) -> None:
    """Write one line per technique, and a sentence for everything that is wrong."""
    for sentence in report.troubles:
        say(sentence)
    for label, group in groupby(report.results, key=lambda result: result.label):
        results = list(group)
        kept = sum(one.outcome == "kept" for one in results)
        say(f"{label}: {kept} of {len(results)} contracts kept")
        for one in results:
            if one.outcome == "broken":
                say(f"  BROKEN   {one.contract}: it {one.sentence}.")
            elif one.outcome == "skipped":
                say(f"  skipped  {one.contract}: {one.sentence}.")
    say(_verdict(report))


def _verdict(report: Report) -> str:
    if report.passed:
        return "Every contract that could be tried is kept."
    broken = len(report.broken) + len(report.troubles)
    return f"{broken} {'thing is' if broken == 1 else 'things are'} wrong."
