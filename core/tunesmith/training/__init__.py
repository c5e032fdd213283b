"""The plumbing training techniques share: batches, losses, a loop that resumes exactly.

A method renders its rows to `TokenRows`, plans all steps ahead with `plan`, and hands `run_loop` an
objective. Everything depends on the rows, the options and the seed alone, never on time.
"""

from tunesmith.training.batches import Size, Step, TokenRows, plan
from tunesmith.training.loop import LoopResult, LoopSettings, Objective, evaluate, run_loop
from tunesmith.training.losses import TokenLoss

__all__ = [
    "LoopResult",
    "LoopSettings",
    "Objective",
    "Size",
    "Step",
    "TokenLoss",
    "TokenRows",
    "evaluate",
    "plan",
    "run_loop",
]
