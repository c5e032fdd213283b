"""Tunesmith takes a language model from data to production and round again.

These names are what a plugin author imports; everything else may change. They are fetched when they
are first used, so that `tunesmith --help` waits for none of them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.chat import encode_prompt, render_rows
    from tunesmith.errors import DataError, ModelError, Stopped, TunesmithError, Waiting
    from tunesmith.evidence.measurements import Answer, Evidence, Measurement, Verdict
    from tunesmith.hookspecs import hookimpl
    from tunesmith.models import load_model, load_tokenizer, save_model
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
        Token,
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
        StreamingEngine,
        Task,
        Technique,
        TrainingMethod,
    )

__version__ = "0.1.0"

__all__ = [
    "Accelerator",
    "Adapter",
    "Answer",
    "Ask",
    "Completion",
    "DataError",
    "DatasetFilter",
    "DatasetSource",
    "Deployer",
    "Distiller",
    "Engine",
    "Evaluator",
    "Evidence",
    "FeedbackSource",
    "Gate",
    "Generation",
    "Label",
    "Measurement",
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
    "Stopped",
    "StreamingEngine",
    "Task",
    "Technique",
    "Token",
    "TrainingJob",
    "TrainingMethod",
    "TunesmithError",
    "Verdict",
    "Waiting",
    "__version__",
    "encode_prompt",
    "hookimpl",
    "load_model",
    "load_tokenizer",
    "render_rows",
    "save_model",
]


def _modules(name: str) -> tuple[str, ...]:
    """Return where a public name may be defined."""
    if name in ("encode_prompt", "render_rows"):
        return ("tunesmith.chat",)
    if name in ("load_model", "load_tokenizer", "save_model"):
        return ("tunesmith.models",)
    usual = ("errors", "hookspecs", "records", "techniques", "evidence.measurements")
    return tuple(f"tunesmith.{module}" for module in usual)


def __getattr__(name: str) -> Any:
    """Return a public name from the module that defines it."""
    if name in __all__:
        from importlib import import_module

        for module in map(import_module, _modules(name)):
            if name in vars(module):
                globals()[name] = vars(module)[name]
                return globals()[name]
    raise AttributeError(f"module 'tunesmith' has no attribute {name!r}")
