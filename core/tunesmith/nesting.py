"""An option that is itself a technique: in a config its name, or its name with options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith.errors import TunesmithError
from tunesmith.techniques import Technique

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema


@dataclass(frozen=True, slots=True)
class Nested:
    """Marks such an option: ``sampler: Annotated[Sampler, Nested()]``.

    It is built with the technique that holds it (a default too, given ``validate_default=True``)
    and dumped as the spec it can be built from. A spec that is wrong is an error of the option.
    """

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Build the technique; ``source`` is the annotated family."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            lambda given: _built(source, given),
            serialization=core_schema.plain_serializer_function_ser_schema(spec_of),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Say what a config may hold; the technique's own options have schemas of their own."""
        return {"type": ["string", "object"]}


def _built(family: type[Technique], given: Any) -> Technique:
    from tunesmith import plugins

    if isinstance(given, family):
        return given
    if not isinstance(given, str | dict):
        raise ValueError(f"expected a {family.family}'s name, or {{name: ...}} with its options")
    try:
        return plugins.build(family, given)
    except TunesmithError as error:
        # pydantic adds the option's name; its own full stop follows.
        raise ValueError(str(error).removesuffix(".")) from error


def spec_of(technique: Technique) -> dict[str, Any]:
    """Return the spec that builds a technique."""
    return {"name": technique.name, **technique.model_dump(mode="json")}


def nested_in(technique: Technique) -> dict[str, Technique]:
    """Return a technique's options that are techniques, by option."""
    values = {key: getattr(technique, key) for key in type(technique).model_fields}
    return {key: value for key, value in values.items() if isinstance(value, Technique)}
