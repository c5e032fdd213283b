"""The JSON schema of a lifecycle file, with the options of every installed technique."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from tunesmith import plugins
from tunesmith.config import Lifecycle, Of, section_inside
from tunesmith.techniques import FAMILIES, PromptStyle, Technique

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the schema; a technique may be given as its name, or as a name with options."""
    schema = Lifecycle.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    for model in _sections(Lifecycle):
        _point_at_families(model, definitions.get(model.__name__, schema)["properties"])
    for family in FAMILIES:
        _define(family, definitions)
    return {"$schema": DRAFT, **schema, "title": "Tunesmith lifecycle"}


def _sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return a model and every section inside it."""
    found = [model]
    for field in model.model_fields.values():
        if (inner := section_inside(field.annotation)) is not None:
            found += _sections(inner)
    return found


def _point_at_families(model: type[BaseModel], properties: dict[str, Any]) -> None:
    for name, field in model.model_fields.items():
        for mark in (m for m in field.metadata if isinstance(m, Of)):
            reference = {"$ref": f"#/$defs/{_title(mark.family, mark.beside)}"}
            old = properties[name]
            kept = {key: old[key] for key in ("description", "default") if key in old}
            if old.get("type") == "array":
                properties[name] = kept | {"type": "array", "items": reference}
            elif "anyOf" in old:
                properties[name] = kept | {"anyOf": [reference, {"type": "null"}]}
            else:
                properties[name] = kept | reference


def _title(family: type[Technique], beside: tuple[str, ...]) -> str:
    """Return a definition's name; a family whose keys have company has a definition of its own."""
    return family.family if not beside else f"{family.family}With{'And'.join(beside).title()}"


def _define(family: type[Technique], definitions: dict[str, Any]) -> None:
    known = plugins.host().available(family)
    _, given = models_json_schema(
        [(one, "validation") for one in known.values()],
        ref_template=f"#/$defs/{family.family}.{{model}}",
    )
    for title, shape in given.get("$defs", {}).items():
        definitions[f"{family.family}.{title}"] = shape
    for name, technique in known.items():
        shape = definitions[f"{family.family}.{technique.__name__}"]
        _point_at_families(technique, shape.get("properties", {}))
        shape["properties"] = {"name": {"const": name}, **shape.get("properties", {})}
        shape["required"] = ["name", *shape.get("required", [])]
    bare: dict[str, Any] = {"enum": sorted(known)}
    options = [{"$ref": f"#/$defs/{family.family}.{one.__name__}"} for one in known.values()]
    definitions[family.family] = {
        "description": (family.__doc__ or "").strip(),
        "anyOf": [bare, *options],
    }
    for beside in _company(family):
        definitions[_title(family, beside)] = _with_company(definitions, family, beside)


def _company(family: type[Technique]) -> list[tuple[str, ...]]:
    marks = [
        mark
        for model in _sections(Lifecycle)
        for field in model.model_fields.values()
        for mark in field.metadata
        if isinstance(mark, Of) and mark.family is family
    ]
    return sorted({mark.beside for mark in marks if mark.beside})


def _with_company(
    definitions: dict[str, Any], family: type[Technique], beside: tuple[str, ...]
) -> dict[str, Any]:
    """Return the family's definition with keys beside the options, such as a task's `style`."""
    extra: dict[str, Any] = {}
    for key in beside:
        style = {"$ref": f"#/$defs/{PromptStyle.family}"}
        extra[key] = style if key == "style" else {"type": "string"}
    plain = definitions[family.family]
    shapes = []
    for option in plain["anyOf"]:
        if "$ref" not in option:
            shapes.append(option)
            continue
        shape = definitions[option["$ref"].removeprefix("#/$defs/")]
        own = {key: [shape["properties"][key]] for key in extra if key in shape["properties"]}
        both = {key: {"anyOf": [*own[key], extra[key]]} for key in own}
        shapes.append({**shape, "properties": {**shape["properties"], **extra, **both}})
    return {**plain, "anyOf": shapes}
