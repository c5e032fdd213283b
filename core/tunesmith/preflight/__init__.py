"""Everything that can be known before anything heavy starts: `tunesmith plan`."""

from tunesmith.preflight.engines import settled
from tunesmith.preflight.outcome import Plan, PlannedStage, Problem
from tunesmith.preflight.planning import plan

__all__ = ["Plan", "PlannedStage", "Problem", "plan", "settled"]
