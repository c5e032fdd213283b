"""The report of a run: what happened, what came of it, and what may be claimed."""

from tunesmith.report.render import write_report
from tunesmith.report.summary import summary

__all__ = ["summary", "write_report"]
