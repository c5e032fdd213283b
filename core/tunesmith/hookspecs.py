"""Every place a plugin can join in.

A plugin is a module that implements some of these hooks and is named under the ``tunesmith`` entry
point group. ``register_*`` hooks return technique classes, one hook per family, and a config picks
a technique by its name. The other hooks report what happened: they cannot veto, and an exception
in one is logged with the plugin's name. A hook may gain arguments: accept only the ones you use.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pluggy import HookimplMarker, HookspecMarker

from tunesmith import techniques as t

hookspec = HookspecMarker("tunesmith")
hookimpl = HookimplMarker("tunesmith")

# Families, in the order a model meets them


@hookspec
def register_dataset_sources() -> Iterable[type[t.DatasetSource]]:
    """Where examples come from, e.g. a JSONL file, collected feedback, the nano world"""
    raise NotImplementedError


@hookspec
def register_dataset_filters() -> Iterable[type[t.DatasetFilter]]:
    """Ways to drop or clean rows, e.g. normalise, length, exact dedup"""
    raise NotImplementedError


@hookspec
def register_tasks() -> Iterable[type[t.Task]]:
    """What a model is asked to do and how answers are scored, e.g. maths, translation, code"""
    raise NotImplementedError


@hookspec
def register_prompt_styles() -> Iterable[type[t.PromptStyle]]:
    """Ways to turn a question into messages, e.g. zero-shot, few-shot, chain of thought"""
    raise NotImplementedError


@hookspec
def register_adapters() -> Iterable[type[t.Adapter]]:
    """Ways to choose which parameters learn, e.g. full, LoRA"""
    raise NotImplementedError


@hookspec
def register_training_methods() -> Iterable[type[t.TrainingMethod]]:
    """Ways to change the weights, e.g. pretrain, SFT, DPO, GRPO"""
    raise NotImplementedError


@hookspec
def register_samplers() -> Iterable[type[t.Sampler]]:
    """Ways to reshape the logits before a token is drawn, e.g. temperature, top-p, min-p"""
    raise NotImplementedError


@hookspec
def register_pair_selectors() -> Iterable[type[t.PairSelector]]:
    """Ways to choose which two answers are compared, e.g. random, most uncertain"""
    raise NotImplementedError


@hookspec
def register_feedback_sources() -> Iterable[type[t.FeedbackSource]]:
    """Who judges pairs of answers, e.g. people, simulated annotators, a file"""
    raise NotImplementedError


@hookspec
def register_reward_models() -> Iterable[type[t.RewardModel]]:
    """Ways to score a completion as people would, e.g. a Bradley-Terry head"""
    raise NotImplementedError


@hookspec
def register_distillers() -> Iterable[type[t.Distiller]]:
    """Ways to teach a small model what a large one knows, e.g. from its logits"""
    raise NotImplementedError


@hookspec
def register_quantizers() -> Iterable[type[t.Quantizer]]:
    """Ways to store weights in fewer bits, e.g. GGUF q8_0"""
    raise NotImplementedError


@hookspec
def register_accelerators() -> Iterable[type[t.Accelerator]]:
    """Ways to make an engine faster without changing what it says, e.g. prefix caching"""
    raise NotImplementedError


@hookspec
def register_engines() -> Iterable[type[t.Engine]]:
    """What runs a model, e.g. transformers, llama.cpp"""
    raise NotImplementedError


@hookspec
def register_evaluators() -> Iterable[type[t.Evaluator]]:
    """Ways to measure a model, e.g. task scores, win rate"""
    raise NotImplementedError


@hookspec
def register_gates() -> Iterable[type[t.Gate]]:
    """Rules that evidence must satisfy, e.g. not worse than the parent"""
    raise NotImplementedError


@hookspec
def register_deployers() -> Iterable[type[t.Deployer]]:
    """Places to put a released model, e.g. a folder"""
    raise NotImplementedError


# Events


@hookspec
def run_started(run: dict[str, Any]) -> None:
    """A run is recorded and its first stage is about to begin"""


@hookspec
def run_finished(run: dict[str, Any], error: str | None) -> None:
    """A run has ended, or waits for people; error is None if every stage succeeded"""


@hookspec
def stage_started(run: dict[str, Any], stage: str) -> None:
    """A stage begins to work; a cached one does not"""


@hookspec
def stage_finished(run: dict[str, Any], stage: str, artifact: str, cached: bool) -> None:
    """A stage has its artifact, new or from the cache"""


@hookspec
def preference_recorded(preference: dict[str, Any]) -> None:
    """Somebody has compared two answers and the verdict is stored"""


@hookspec
def model_registered(version: dict[str, Any]) -> None:
    """A model version is in the registry"""


@hookspec
def model_promoted(alias: str, version: dict[str, Any]) -> None:
    """An alias now points at another version"""
