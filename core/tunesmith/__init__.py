"""Tunesmith takes a language model from data to production and round again.

These names are what a plugin author imports; everything else may change. They are fetched when they
are first used, so that `tunesmith --help` waits for none of them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.errors import DataError, ModelError, TunesmithError, Waiting
    from tunesmith.hookspecs import hookimpl
    from tunesmith.records import (
        Completion,
        Generation,
        Label,
        Message,
        Outcome,
        Pair,
        Reply,
        Row,
        Score,
        Scorer,
        TrainingJob,
    )
    from tunesmith.techniques import (
        Accelerator,
        Adapter,
        Ask,
        DatasetFilter,
        DatasetSource,
        Deployer,
        Distiller,
        Engine,
        Evaluator,
        FeedbackSource,
        Gate,
        OpenEngine,
        PairSelector,
        PromptStyle,
        Quantizer,
        RewardModel,
        Sampler,
        Task,
        Technique,
        TrainingMethod,
    )

__version__ = "0.1.0"

__all__ = [
    "Accelerator",
    "Adapter",
    "Ask",
    "Completion",
    "DataError",
    "DatasetFilter",
    "DatasetSource",
    "Deployer",
    "Distiller",
    "Engine",
    "Evaluator",
    "FeedbackSource",
    "Gate",
    "Generation",
    "Label",
    "Message",
    "ModelError",
    "OpenEngine",
    "Outcome",
    "Pair",
    "PairSelector",
    "PromptStyle",
    "Quantizer",
    "Reply",
    "RewardModel",
    "Row",
    "Sampler",
    "Score",
    "Scorer",
    "Task",
    "Technique",
    "TrainingJob",
    "TrainingMethod",
    "TunesmithError",
    "Waiting",
    "__version__",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    """Return a public name from the module that defines it."""
    if name in __all__:
        from tunesmith import errors, hookspecs, records, techniques

        for module in (errors, hookspecs, records, techniques):
            if name in vars(module):
                globals()[name] = vars(module)[name]
                return globals()[name]
    raise AttributeError(f"module 'tunesmith' has no attribute {name!r}")
