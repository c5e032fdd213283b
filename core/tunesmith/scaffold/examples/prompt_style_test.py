"""The style tells first and asks last."""

from tunesmith import Task
from tunesmith.scaffold.examples.prompt_style import Example


def test_the_instruction_comes_first_and_joins_a_system_turn_that_is_there() -> None:
    """The question stays the last turn."""
    row = {
        "prompt": [
            {"role": "system", "content": "You sail."},
            {"role": "user", "content": "Where is north?"},
        ]
    }
    said = Example(instruction="Be brief.").messages(Task(), row, [])
    assert said == [
        {"role": "system", "content": "You sail.\nBe brief."},
        {"role": "user", "content": "Where is north?"},
    ]
