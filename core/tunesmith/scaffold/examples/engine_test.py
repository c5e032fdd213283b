"""The engine says what the reference engine says."""

from pathlib import Path

from tunesmith import Engine, Generation, Sampler, plugins
from tunesmith.scaffold.examples.engine import Example


def test_its_greedy_answers_are_those_of_the_reference_engine(tunesmith_tiny_model: Path) -> None:
    """Two prompts, six tokens each."""
    greedy = plugins.build(Sampler, "greedy")
    how = Generation(greedy, max_new_tokens=6, seeds=[1, 2], stop_ids=())
    said = []
    for engine in (plugins.build(Engine, "transformers"), Example()):
        with engine.open(tunesmith_tiny_model) as opened:
            said.append(opened.generate([[10, 42, 77], [200, 17]], how))
    assert said[0] == said[1]
    assert [len(one.ids) for one in said[1]] == [6, 6]
