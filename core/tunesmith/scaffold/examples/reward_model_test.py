"""The reward model learns what is preferred."""

from pathlib import Path

from tunesmith import TrainingJob
from tunesmith.scaffold.examples.reward_model import Example

LONG, SHORT = "one two three four five six seven", "one two"


def test_it_learns_that_long_answers_are_preferred_and_the_opposite(tmp_path: Path) -> None:
    """The same answers, compared the other way round, get the opposite order."""
    for name, chosen, rejected in (("long", LONG, SHORT), ("short", SHORT, LONG)):
        prompt = [{"role": "user", "content": "Count."}]
        row = {
            "prompt": prompt,
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
        }
        job = TrainingJob([row], tmp_path / name, tmp_path / "work", seed=1)
        assert Example().fit(job).metrics["train_accuracy"] == 1.0
        better, worse = Example().open(job.out)([prompt, prompt], [chosen, rejected])
        assert better > worse
