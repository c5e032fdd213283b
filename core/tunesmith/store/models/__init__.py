"""The tables. What they mean together is told by the modules that write them."""

from tunesmith.store.models.feedback import (
    VERDICTS,
    Annotator,
    Assignment,
    Campaign,
    PairItem,
    Preference,
)
from tunesmith.store.models.prompts import (
    PromptAlias,
    PromptAliasEvent,
    PromptVersion,
    SavedPrompt,
)
from tunesmith.store.models.results import (
    Alias,
    AliasEvent,
    Artifact,
    ArtifactInput,
    ModelVersion,
    RegisteredModel,
)
from tunesmith.store.models.runs import (
    ATTEMPT_STATUSES,
    RUN_STATUSES,
    CurvePoint,
    HeldByProcess,
    Run,
    Sample,
    StageAttempt,
    StageEntry,
)

__all__ = [
    "ATTEMPT_STATUSES",
    "RUN_STATUSES",
    "VERDICTS",
    "Alias",
    "AliasEvent",
    "Annotator",
    "Artifact",
    "ArtifactInput",
    "Assignment",
    "Campaign",
    "CurvePoint",
    "HeldByProcess",
    "ModelVersion",
    "PairItem",
    "Preference",
    "PromptAlias",
    "PromptAliasEvent",
    "PromptVersion",
    "RegisteredModel",
    "Run",
    "Sample",
    "SavedPrompt",
    "StageAttempt",
    "StageEntry",
]
