"""The contract kit: what every technique of a family promises, and trying whether it keeps it.

`tunesmith plugins test`, the pytest plugin and `check` do the same: a process of its own loads the
plugin, and every contract is tried there with a time limit, so that a technique that raises, hangs
or brings its process down gets a sentence and the others go on.
"""

from tunesmith.contracts.bench import Bench, Told, check
from tunesmith.contracts.results import Report, Result

__all__ = ["Bench", "Report", "Result", "Told", "check"]
