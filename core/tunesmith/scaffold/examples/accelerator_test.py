"""The accelerator sets an option that its engine has."""

from tunesmith import Engine, plugins
from tunesmith.scaffold.examples.accelerator import Example


def test_the_engine_takes_the_number_of_threads() -> None:
    """As if the config had said so."""
    engine = plugins.build(Engine, {"name": "llamacpp", **Example(threads=2).options()})
    assert engine.model_dump()["threads"] == 2
