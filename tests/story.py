"""A whole run, written into a real store without training anything.

The rows come from the nano source, labels from the simulated annotators, measurements from the
evaluators and verdicts from the gates; only what a model would have said is made up here.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import select

from tunesmith import Pair, plugins, store
from tunesmith.evidence.measurements import Answer, Duel, Evidence, Footprint
from tunesmith.preferences import hold_out, preference_rows
from tunesmith.reward_card import RewardGate, decide, reward_card
from tunesmith.splits import data_card, split_rows
from tunesmith.store import Store, campaigns, ledger, registry, runs
from tunesmith.store.models import Run, StageAttempt
from tunesmith.techniques import DatasetSource, Evaluator, FeedbackSource, Gate

STAGES = (
    "prepare", "tune", "respond", "collect", "reward", "align", "optimise", "evaluate", "release",
)  # fmt: skip
SECONDS = dict(zip(STAGES, (4, 96, 31, 1, 44, 118, 3, 57, 2), strict=True))
MODELS = {"base": 0.06, "tuned": 0.82, "aligned": 0.8, "aligned@llamacpp": 0.8, "quantized": 0.79}
PAPERS = (
    ("maths_reasoning", "zero_shot"), ("maths_reasoning", "chain_of_thought"),
    ("machine_translation", "zero_shot"), ("code_generation", "zero_shot"),
    ("summarisation", "zero_shot"),
)  # fmt: skip
CONFIG: dict[str, Any] = {
    "name": "nano-demo",
    "seed": 7,
    "model": "builtin:nano",
    "data": {"sources": [{"name": "nano", "train": 40}], "filters": ["normalise", "exact_dedup"]},
    "tune": {"method": {"name": "sft", "epochs": 1}, "adapter": {"name": "lora", "r": 16}},
    "respond": {"prompts": 40, "tasks": ["creative_writing"], "answers": 4},
    "collect": {"source": {"name": "simulated"}, "overlap": 3, "quorum": 1.0},
    "reward": {"model": {"name": "bradley_terry"}, "holdout": 0.2},
    "align": {"method": {"name": "grpo"}, "adapter": {"name": "lora", "r": 16}, "prompts": 256},
    "optimise": {"quantizer": {"name": "gguf", "type": "q8_0"}},
    "evaluate": {"tasks": ["maths_reasoning"], "items": 30},
    "release": {"name": "nano-demo", "alias": "candidate"},
}
Rows = list[dict[str, Any]]


@dataclass
class Story:
    """One run in the making; ``say`` replaces what a model answers."""

    store: Store
    config: dict[str, Any] = field(default_factory=lambda: dict(CONFIG))
    run_id: str = ""
    made: dict[str, str] = field(default_factory=dict)
    splits: dict[str, Rows] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)
    say: str | None = None

    def tell(self, until: str = "release", failing: str | None = None) -> Story:
        """Go through the stages; the one called ``failing`` ends with an error."""
        details = {"until": None, "environment": {"python": "3.11.7", "cores": 2}}
        self.run_id = runs.create(self.store, self.config["name"], self.config, details=details)
        for stage in STAGES[: STAGES.index(until) + 1]:
            attempt = ledger.begin(self.store, self.run_id, stage, f"{self.run_id}/{stage}")
            if stage == failing:
                ledger.fail(self.store, attempt, "The loss is not a number. Lower learning_rate.")
                runs.set_status(self.store, self.run_id, "FAILED", reason=f"{stage} failed.")
                return self._at_its_time()
            timings = {"seconds": SECONDS[stage]} | (getattr(self, stage)() or {})
            ledger.finish(self.store, attempt, self.made[stage], timings)
        runs.set_status(self.store, self.run_id, "COMPLETED")
        return self._at_its_time()

    def _at_its_time(self) -> Story:
        """Let the stages have taken the time they usually take."""
        with self.store.write() as session:
            run = session.get(Run, self.run_id)
            at = run.created_at = run.created_at - timedelta(seconds=sum(SECONDS.values()))
            wanted = select(StageAttempt).where(StageAttempt.run_id == self.run_id)
            for attempt in session.scalars(wanted.order_by(StageAttempt.id)):
                attempt.started_at = at
                at += timedelta(seconds=SECONDS[attempt.stage] + 0.4)
                attempt.finished_at = at
        return self

    def keep(self, stage: str, kind: str, files: dict[str, Any], **facts: Any) -> None:
        """Store one artifact; lists become JSON lines."""
        with self.store.artifacts.draft(kind) as draft:
            for name, value in files.items():
                write(draft.path / name, value)
            facts.setdefault("inputs", list(self.made.values())[-1:])
            section = {"stage": stage, "run": self.config["name"]}
            versions = {"tunesmith": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"}
            artifact = draft.commit(config=section, seed=7, versions=versions, **facts)
        self.made[stage] = artifact.id

    def prepare(self) -> None:
        self.splits = split_rows(source_rows(), {}, 7)
        card = data_card(self.splits, {"normalise": 0, "exact_dedup": 3})
        files = {f"{name}.jsonl": rows for name, rows in self.splits.items()}
        counts = {name: len(rows) for name, rows in self.splits.items()}
        self.keep("prepare", "dataset", files | {"card.json": card}, metrics={"rows": counts})

    def tune(self) -> None:
        points = [
            {"step": n, "steps": 300, "loss": 0.3 + 2.4 * math.exp(-n / 40) + 0.05 * math.sin(n)}
            for n in range(1, 301, 2)
        ]
        runs.log_points(self.store, self.run_id, "tune", points)
        self._samples("tune", ("base", "tuned"))
        self.keep("tune", "model", {"config.json": {"of": "tune"}}, metrics={"loss": 0.312})

    def respond(self) -> None:
        source = plugins.build(FeedbackSource, "simulated")
        rows = self.rows("prompts", "creative_writing")
        for row in rows:
            texts = [self.story(row, good, f"{row['id']}/{good}") for good in (0.4, 0.8)]
            if texts[0] == texts[1]:
                texts[1] += " The end."
            made = (row["id"], row["task"], row["prompt"], *texts, row["reference"])
            self.pairs.append(Pair(*made))
        assert source.simulated
        responses = [{"id": p.id, "answers": [p.first, p.second]} for p in self.pairs]
        files = {"responses.jsonl": responses, "pairs.jsonl": list(map(asdict, self.pairs))}
        metrics = {"prompts": len(rows), "pairs": len(self.pairs)}
        self.keep("respond", "responses", files, metrics=metrics)

    def collect(self) -> None:
        source = plugins.build(FeedbackSource, "simulated")
        found = source.judge(self.pairs, 7)
        name = f"{self.config['name']}-pairs"
        options = {"overlap": 3, "source": "simulated", "run_id": self.run_id}
        campaigns.create(self.store, name, self.pairs, **options)
        campaigns.import_labels(self.store, name, found)
        campaigns.close(self.store, name)
        who = sorted({label.annotator for label in found})
        summary = {
            "source": "simulated",
            "simulated": True,
            "annotators": {one: sum(x.annotator == one for x in found) for one in who},
            "agreement": 0.52,
        }
        files = {
            "labels.jsonl": list(map(asdict, found)),
            "pairs.jsonl": list(map(asdict, self.pairs)),
            "summary.json": summary,
        }
        metrics = {"pairs": len(self.pairs), "labels": len(found), **summary}
        self.keep("collect", "preferences", files, metrics=metrics)

    def reward(self) -> None:
        source = plugins.build(FeedbackSource, "simulated")
        judged = source.judge(self.pairs, 7)
        rows = preference_rows(self.pairs, judged, utility=source.utility)
        _, held = hold_out(rows, 0.7, 7)
        worth = {r[side][0]["content"]: r[f"utility_{side}"] for r in held for side in SIDES}

        def scorer(prompts: Any, texts: Any) -> list[float]:
            return [worth[text] + random.Random(text).gauss(0, 0.4) for text in texts]

        card = reward_card(scorer, held, 7)
        verdict = decide(card, RewardGate(min_of_ceiling=0.8))
        points = [{"step": n, "loss": 0.69 - 0.2 * (1 - math.exp(-n / 9))} for n in range(60)]
        runs.log_points(self.store, self.run_id, "reward", points)
        files = {"card.json": card.record() | {"verdict": asdict(verdict)}}
        metrics = {"passed": verdict.passed, "verdict": verdict.reason}
        self.keep("reward", "reward_model", files, metrics=metrics)

    def align(self) -> None:
        rng = random.Random(3)
        points = [
            {
                "step": n, "reward": 1.6 * (1 - math.exp(-n / 25)) + rng.gauss(0, 0.15),
                "kl": 0.0006 * n + rng.random() * 0.004, "length": 52 + n / 12 + rng.gauss(0, 1.5),
                "clip_fraction": 0.02 + rng.random() * 0.03,
            }
            for n in range(120)
        ]  # fmt: skip
        runs.log_points(self.store, self.run_id, "align", points)
        self._samples("align", ("tuned", "aligned"))
        self.keep("align", "model", {"config.json": {"of": "align"}}, metrics={"reward": 1.52})

    def optimise(self) -> None:
        report = {"bytes": 2_950_000, "bits_per_weight": 8.6, "parent": "aligned", "engine": "l"}
        self.keep("optimise", "quantized_model", {"report.json": report}, metrics=report)

    def evaluate(self) -> dict[str, float]:
        evidence = self.evidence()
        found = [
            one
            for name in ("task_scores", "win_rate", "speed_and_size")
            for one in plugins.build(Evaluator, name).measure(evidence)
        ]
        verdicts = [plugins.build(Gate, spec).decide(found) for spec in GATES]
        files = {
            "answers.jsonl": list(map(asdict, evidence.answers)),
            "duels.jsonl": list(map(asdict, evidence.duels)),
            "footprints.json": list(map(asdict, evidence.footprints)),
            "measurements.json": list(map(asdict, found)),
            "verdicts.json": list(map(asdict, verdicts)),
            "setting.json": {"seed": 7, "judged_by": evidence.judged_by, "items": 40},
        }
        inputs = [self.made[one] for one in ("prepare", "tune", "align", "optimise")]
        self.keep("evaluate", "evaluation", files, inputs=inputs, metrics={"passed": True})
        return {f"tokens_per_second/{m}": 800 + 150.0 * n for n, m in enumerate(MODELS)}

    def release(self) -> None:
        bundle = {"name": "nano-demo", "model": self.made["optimise"]}
        inputs = [self.made["evaluate"], self.made["optimise"]]
        self.keep("release", "bundle", {"bundle.json": bundle}, inputs=inputs)
        evidence, name = self.made["evaluate"], self.config["name"]
        facts = {"run_id": self.run_id, "evidence_id": evidence, "author": self.run_id}
        version = registry.register(self.store, name, self.made["release"], **facts)
        registry.set_alias(self.store, name, "candidate", version, actor=self.run_id)
        released = {"model": name, "version": version}
        runs.annotate(self.store, self.run_id, {"release": released})

    def evidence(self) -> Evidence:
        """Return what the models would have answered in the exams and the contest."""
        answers = [
            self.answer(model, share, row, style)
            for model, share in MODELS.items()
            for task, style in PAPERS
            for row in self.rows("test", task)
        ]
        prints = [
            Footprint(m, "llamacpp" if "@" in m or m == "quantized" else "transformers", size, bits)
            for m, size, bits in zip(MODELS, BYTES, BITS, strict=True)
        ]
        parents = dict(zip(list(MODELS)[1:], MODELS, strict=False))
        judged = "noiseless utility of the feedback source 'simulated'"
        return Evidence(answers, self.duels(), prints, parents, 7, judged)

    def answer(self, model: str, share: float, row: dict[str, Any], style: str) -> Answer:
        """Return one made-up answer, right with the chance ``share``."""
        bonus = 0.12 if style == "chain_of_thought" and model != "base" else 0.0
        right = random.Random(f"{model[:7]}/{row['id']}/{style}").random() < share + bonus
        text = row["completion"][0]["content"] if right else wrong(model, row)
        made = (model, row["task"], row["id"], row["question"], self.say or text)
        return Answer(*made, float(right), right, len(text.split()), style)

    def duels(self) -> list[Duel]:
        """Return what the tuned and the aligned model wrote to the same wishes."""
        source = plugins.build(FeedbackSource, "simulated")
        found = []
        for row in self.rows("test", "creative_writing"):
            texts = [self.story(row, good, f"{row['id']}{good}") for good in (0.9, 0.55)]
            pair = Pair(row["id"], row["task"], row["prompt"], *texts, row["reference"])
            worth = [source.utility(pair, text) for text in texts]
            made = (row["id"], row["task"], "aligned", "tuned", *texts, *worth)
            found.append(Duel(*made, row["question"]))
        return found

    def story(self, row: dict[str, Any], good: float, seed: str) -> str:
        """Return the row's own story, some of its sentences replaced by dull ones."""
        rng = random.Random(seed)
        told = row["completion"][0]["content"].split(". ")
        return ". ".join(s if rng.random() < good else "It was a day like any other" for s in told)

    def rows(self, split: str, task: str) -> Rows:
        return [row for row in self.splits[split] if row["task"] == task]

    def _samples(self, stage: str, models: Iterable[str]) -> None:
        for model in models:
            said = []
            for task in dict.fromkeys(row["task"] for row in self.splits["test"]):
                for row in self.rows("test", task)[:2]:
                    answer = self.answer(model, MODELS[model], row, "zero_shot")
                    said.append({"item": row["id"], "task": task, "prompt": row["question"]})
                    said[-1] |= {"answer": answer.text, "finish": "stop"}
            runs.log_samples(self.store, self.run_id, stage, model, said)


SIDES = ("chosen", "rejected")
BYTES = (5_510_000, 5_510_000, 5_510_000, 11_020_000, 2_950_000)
BITS = (16.0, 16.0, 16.0, 32.0, 8.6)
GATES: tuple[dict[str, Any], ...] = (
    {"name": "not_worse", "model": "aligned", "baseline": "tuned", "margin": 0.2},
    {"name": "not_worse", "model": "quantized", "baseline": "aligned@llamacpp", "margin": 0.15},
    {"name": "at_least", "measurement": "win_rate:tuned", "model": "aligned", "value": 0.5},
    {"name": "at_most", "measurement": "size_ratio", "model": "quantized", "value": 0.3},
)


@cache
def source_rows() -> tuple[dict[str, Any], ...]:
    """Return the rows of every story; they are worked out once."""
    counts = {"train": 40, "prompts": 40, "test": 40, "validation": 5}
    return tuple(plugins.build(DatasetSource, {"name": "nano", **counts}).rows())


def wrong(model: str, row: dict[str, Any]) -> str:
    """Return a wrong answer as this model would give it."""
    if model == "base":
        return f"{row['question'].split()[-1]} was sold at the market. The girl went home and the"
    words = row["completion"][0]["content"].split()
    return " ".join([*words[:-1], "again"]) if len(words) > 1 else "17"


def write(path: Path, value: Any) -> None:
    """Write a list as JSON lines, anything else as JSON."""
    rows = value if path.suffix == ".jsonl" else [value]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(text + "\n", encoding="utf-8")


def tell(home: Path, **options: Any) -> Story:
    """Write a whole run into a new store."""
    return Story(store.open(home)).tell(**options)


def waiting(home: Path, pairs: int = 6, overlap: int = 1) -> Story:
    """Write a run that waits for people to label its pairs."""
    told = Story(store.open(home), {**CONFIG, "collect": {"source": {"name": "human"}}})
    told.tell(until="respond")
    reason = f"needs {pairs * overlap} labels; label at `tunesmith dashboard`."
    attempt = ledger.begin(told.store, told.run_id, "collect", f"{told.run_id}/collect")
    ledger.wait(told.store, attempt, reason)
    guide = "Prefer the story that does what was asked."
    options = {"overlap": overlap, "run_id": told.run_id, "guidelines": guide, "seed": 7}
    campaigns.create(told.store, "stories", told.pairs[:pairs], **options)
    runs.set_status(told.store, told.run_id, "WAITING", reason=reason)
    return told
