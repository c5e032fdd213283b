"""Which contracts a family's techniques must keep."""

from __future__ import annotations

from tunesmith.contracts import (
    choosing,
    data,
    deploying,
    evidence,
    generic,
    prompting,
    running,
    sampling,
    training,
)
from tunesmith.contracts.rules import Contract
from tunesmith.techniques import Technique

SPECIFIC: dict[str, tuple[Contract, ...]] = {
    "DatasetSource": data.SOURCE,
    "DatasetFilter": data.FILTER,
    "Task": prompting.TASK,
    "PromptStyle": prompting.STYLE,
    "Adapter": training.ADAPTER,
    "TrainingMethod": training.METHOD,
    "Sampler": sampling.SAMPLER,
    "PairSelector": choosing.SELECTOR,
    "FeedbackSource": choosing.FEEDBACK,
    "RewardModel": training.REWARD,
    "Distiller": training.DISTILLER,
    "Quantizer": running.QUANTIZER,
    "Accelerator": running.ACCELERATOR,
    "Engine": running.ENGINE,
    "Evaluator": evidence.EVALUATOR,
    "Gate": evidence.GATE,
    "Deployer": deploying.DEPLOYER,
}


def contracts_of(family: type[Technique]) -> tuple[Contract, ...]:
    """Return the contracts of a family, those of every family first."""
    return (*generic.EVERY, *SPECIFIC[family.family])
