"""Write the reference pages from the code: ``python docs/generate.py``; ``--check`` only compares.

The pages are config.md (every key), techniques.md (every built-in technique) and cli.md (--help);
in plugins.md the parts between marks are written: what every family and every hook promises.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

# Help is wrapped at the terminal's width, and what is disabled here would be missing there.
os.environ |= {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
os.environ["TUNESMITH_DISABLE"] = ""

import typer
from pydantic import BaseModel

from tunesmith import hookspecs, plugins, techniques
from tunesmith.cli import plugin_pages as pages
from tunesmith.cli.commands import app
from tunesmith.config import Lifecycle, Of, Section
from tunesmith.contracts import catalogue, generic
from tunesmith.contracts.rules import Contract
from tunesmith.reward_card import RewardGate
from tunesmith.techniques import FAMILIES, Technique

DOCS = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py; do not edit. -->\n\n"
OWN = "tunesmith"
GUIDES = {
    "Task": "tasks.md",
    "PromptStyle": "prompting.md",
    "Adapter": "adapters.md",
    "Sampler": "samplers.md",
    "FeedbackSource": "feedback.md",
    "Distiller": "distillation.md",
    "Engine": "engines.md",
}
"""The pages that say which technique of a family to use when."""


def config_page() -> str:
    """Return every key of a lifecycle file."""
    parts = [
        "# The lifecycle file\n",
        "One YAML file holds a model's life. Each section asks for a stage; a section that is"
        " absent, or null, leaves its stage out. Unknown keys are refused with the nearest right"
        " one. A technique is written as its name, or as a name with options: `lora`, or"
        " `{name: lora, r: 16}`; [techniques.md](techniques.md) lists them. Relative paths start"
        " at the file's folder.\n",
        "Any key can be changed on the command line with a dotted key and a YAML value:\n",
        "```\ntunesmith run lifecycle.yaml --set tune.method.epochs=2 --set align=null\n"
        "tunesmith run lifecycle.yaml"
        " --set data.sources='[{name: jsonl, path: rows.jsonl}]'\n```\n",
        "YAML is read by the rules of version 1.2: only `true` and `false` are booleans, and `1e-4`"
        " is a number. `tunesmith config schema` writes the JSON schema for editors.\n",
        "## The whole\n",
        _keys(Lifecycle),
    ]
    for name, model in _sections(Lifecycle):
        doc = " ".join((model.__doc__ or "").split())
        parts += [f"## {name}\n", f"{doc}\n", _keys(model)]
    return "\n".join(parts)


def _sections(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, Section | RewardGate):
                where = f"{path}.{name}" if path else name
                yield where, kind
                yield from _sections(kind, where)


def _keys(model: type[BaseModel]) -> str:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        rows.append(f"| `{name}` | {_kind(field)} | {_default(field)} | {_meaning(field)} |")
    return "\n".join(rows) + "\n"


def _kind(field: Any) -> str:
    marks = [mark for mark in field.metadata if isinstance(mark, Of)]
    if marks:
        family = f"[{marks[0].family.family}](techniques.md#{marks[0].family.family.lower()})"
        return f"list of {family}" if "list" in str(field.annotation) else family
    kinds = [k for k in (field.annotation, *getattr(field.annotation, "__args__", ())) if k]
    if any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds):
        return "list of sections" if "list" in str(field.annotation) else "section"
    limits = [pages._limit(mark) for mark in field.metadata if pages._limit(mark)]
    return " ".join([f"`{pages.type_name(field.annotation)}`".replace("|", "\\|"), *limits])


def _default(field: Any) -> str:
    if field.is_required():
        return "(required)"
    value = field.get_default(call_default_factory=True)
    text = pages.yaml_text(value.model_dump() if isinstance(value, BaseModel) else value)
    return "(absent)" if value is None and _kind(field) == "section" else f"`{text}`"


def _meaning(field: Any) -> str:
    if field.description:
        return " ".join(field.description.split()).replace("|", "\\|")
    for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return " ".join((kind.__doc__ or "").split())
    return ""


def techniques_page() -> str:
    """Return every built-in technique with its options."""
    parts = [
        "# Techniques\n",
        "What ships with Tunesmith, by family. `tunesmith plugins list` shows what is installed"
        " here, plugins of others included; [plugins.md](plugins.md) says how to write one.\n",
    ]
    for family in FAMILIES:
        parts += [f"## {family.family}\n", f"{(family.__doc__ or '').strip()}\n"]
        if guide := GUIDES.get(family.family):
            parts.append(f"Which to use when: [{guide}]({guide}).\n")
        known = plugins.host().available(family)
        own = [t for t in known.values() if plugins.host().provenance(t).distribution == OWN]
        parts += [_technique(family, one) for one in own] or ["None yet.\n"]
    return "\n".join(parts)


def _technique(family: type[Technique], technique: type[Technique]) -> str:
    found = pages.facts(family, technique.name)
    parts = [f"### {technique.name}\n", f"{found['doc']}\n"]
    if found["needs"]:
        parts.append(f"Needs {', '.join(f'`{name}`' for name in found['needs'])}.\n")
    if found["options"]:
        rows = ["| option | type | default | meaning |", "|---|---|---|---|"]
        for option in found["options"]:
            name, kind, default, doc = pages._option_row(option)
            cells = (f"`{name}`", f"`{kind}`", f"`{_short(default)}`", doc)
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def _short(text: str, longest: int = 120) -> str:
    return text if len(text) <= longest else f"{text[:longest]}..."


def cli_page() -> str:
    """Return the help of every command."""
    parts = [
        "# The command line\n",
        "`--home FOLDER` and `--debug` may stand anywhere. `--json` writes one JSON document to"
        " stdout and nothing else; everything for people then goes to stderr.\n",
        "| exit code | meaning |\n|---|---|\n| 0 | done |\n| 1 | it failed, or a gate refused |\n"
        "| 2 | the command line or the configuration is wrong; nothing was started |\n"
        "| 3 | the run waits for people |\n| 130 | stopped with Ctrl-C |\n",
    ]
    command = typer.main.get_command(app)
    for path, one in _commands(command, ("tunesmith",)):
        context = typer.Context(one, info_name=" ".join(path), terminal_width=100)
        text = one.get_help(context).rstrip()
        parts.append(f"## {' '.join(path)}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, one in getattr(command, "commands", {}).items():
        yield from _commands(one, (*path, name))


def families_part() -> str:
    """Return a section for every family: its hook, its verbs and what it promises."""
    rows = ["| hook | family | what for |", "|---|---|---|"]
    for family in FAMILIES:
        where = f"[`{family.family}`](#{family.family.lower()})"
        rows.append(f"| `{family.hook}()` | {where} | {_hook_line(family.hook)} |")
    parts = ["\n".join(rows) + "\n", "### Every family\n", f"{_TRIED}\n", _promises(generic.EVERY)]
    source = ast.parse(inspect.getsource(techniques))
    classes = {node.name: node for node in source.body if isinstance(node, ast.ClassDef)}
    for family in FAMILIES:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", family.family).lower()
        parts += [
            f"### {family.family}\n",
            f"{inspect.getdoc(family)} Its hook is `{family.hook}()`;"
            f" `tunesmith plugins new NAME --family {name}` writes a working one.\n",
            _members(classes[family.family]),
            "It promises:\n",
            _promises(catalogue.SPECIFIC[family.family]),
        ]
    return "\n".join(parts)


_TRIED = (
    "`tunesmith plugins test` and the pytest plugin try these promises on every technique, and"
    " those of its family:"
)


def _hook_line(name: str) -> str:
    return (inspect.getdoc(getattr(hookspecs, name)) or "").strip().rstrip(".")


def _promises(contracts: Iterable[Contract]) -> str:
    return "\n".join(f"- {one.promise}. (`{one.name}`)" for one in contracts) + "\n"


def _members(node: ast.ClassDef) -> str:
    """Return a family's verbs and settings with their docstrings, as its class body has them."""
    lines = []
    for at, part in enumerate(node.body):
        if isinstance(part, ast.FunctionDef):
            doc = " ".join((ast.get_docstring(part) or "").split())
            lines.append(f"- `{_signature(part)}`: {doc}")
        elif isinstance(part, ast.AnnAssign):
            doc = node.body[at + 1].value.value  # type: ignore[attr-defined]  the string under it
            lines.append(f"- `{ast.unparse(part)}`: {' '.join(doc.split())}")
    return "\n".join(lines) + "\n"


def _signature(node: ast.FunctionDef) -> str:
    given = ast.unparse(node.args).removeprefix("self").removeprefix(", ")
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({given}){returns}"


def events_part() -> str:
    """Return every hook that reports, with its arguments."""
    rows = ["| hook | when |", "|---|---|"]
    for name in plugins.EVENTS:
        given = ", ".join(inspect.signature(getattr(hookspecs, name)).parameters)
        rows.append(f"| `{name}({given})` | {_hook_line(name)} |")
    return "\n".join(rows) + "\n"


def with_parts(page: str, text: str) -> str:
    """Return a page's text with what is between its marks written anew."""
    for name, part in PARTS[page].items():
        begin, end = _marks(name)
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise SystemExit(f"{page} lacks {begin} or {end}")
        text = f"{before}{begin}\n\n{part()}\n{end}{after}"
    return text


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: written by docs/generate.py -->", f"<!-- {name}: end -->"


PARTS = {"plugins.md": {"families": families_part, "events": events_part}}
PAGES = {"config.md": config_page, "techniques.md": techniques_page, "cli.md": cli_page}


def stale() -> list[str]:
    """Return the pages that differ from what the code says."""
    return [name for name, text in _written().items() if _read(name) != text]


def _written() -> dict[str, str]:
    """Return every page as the code says it is."""
    whole = {name: NOTE + page() for name, page in PAGES.items()}
    return whole | {name: with_parts(name, _read(name)) for name in PARTS}


def _read(name: str) -> str:
    path = DOCS / name
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def main(argv: list[str]) -> int:
    """Write the pages, or with ``--check`` say which are out of date."""
    if "--check" in argv:
        if found := stale():
            sys.stderr.write(f"Out of date: {', '.join(found)}. Run `make docs`.\n")
        return 1 if found else 0
    for name, text in _written().items():
        (DOCS / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
