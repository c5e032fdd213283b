"""Read a lifecycle from its file, and say in people's words what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from tunesmith import overrides as dotted
from tunesmith import yamltext
from tunesmith.config import Lifecycle, Of, section_inside
from tunesmith.errors import ConfigError, PluginError, did_you_mean
from tunesmith.techniques import Technique

MAX_BYTES = 1_000_000
"""No config is longer; a data file given by mistake is."""


def read(path: Path, overrides: Sequence[str]) -> Lifecycle:
    """Return the checked lifecycle; see `tunesmith.config.load_config`."""
    document = yamltext.parse(_text(path), str(path))
    if document.value is None:
        raise ConfigError(f"{path} is empty. `tunesmith init` writes one to start from.")
    if not isinstance(document.value, dict):
        raise ConfigError(
            f"{path} must hold keys such as `name:` and `data:`,"
            f" not {_kind(document.value)}. `tunesmith init` writes one to start from."
        )
    given = anchored(document.value, path.absolute().parent)
    changed = dotted.apply(given, overrides)
    if overrides:
        changed = anchored(changed, Path.cwd())
    return check(changed, str(path), document, overrides)


def check(
    value: Any,
    name: str,
    document: yamltext.Document | None = None,
    overrides: Sequence[str] = (),
) -> Lifecycle:
    """Return the lifecycle, or raise a ConfigError that lists everything wrong with it."""
    try:
        return Lifecycle.model_validate(value)
    except ValidationError as error:
        found = [
            f"{_where(name, problem['loc'], document, overrides)}: {_sentence(problem, value)}"
            for problem in error.errors(include_url=False)
        ]
        raise ConfigError("\n".join(found)) from error


def _text(path: Path) -> str:
    if path.is_dir():
        inside = sorted(p.name for p in path.glob("*.y*ml"))
        hint = f" It holds {', '.join(inside[:5])}." if inside else ""
        raise ConfigError(f"{path} is a folder; give the YAML file in it.{hint}")
    try:
        data = path.read_bytes() if _small(path) else b""
    except FileNotFoundError as error:
        near = did_you_mean(path.name, (p.name for p in _beside(path)))
        raise ConfigError(
            f"There is no file {path}.{near} `tunesmith init` writes a lifecycle.yaml."
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}, line {line}: byte {data[error.start]:#04x} is not UTF-8."
            " Save the file as UTF-8."
        ) from error


def _small(path: Path) -> bool:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ConfigError(f"{path} has {size:,} bytes; no config is that long. Is it a data file?")
    return True


def _beside(path: Path) -> Iterable[Path]:
    return path.parent.glob("*.y*ml") if path.parent.is_dir() else ()


def _where(
    name: str,
    loc: tuple[int | str, ...],
    document: yamltext.Document | None,
    overrides: Sequence[str],
) -> str:
    """Name the file and line, or the override, that a problem comes from."""
    path = tuple(str(part) for part in loc)
    for text in reversed(overrides):
        keys = tuple(dotted.read(text)[0])
        if keys == path[: len(keys)] or path == keys[: len(path)]:
            return f"--set {text}"
    line = document.line(path) if document and path else None
    return f"{name}, line {line}" if line else name


def _sentence(problem: Any, value: Any) -> str:
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        return _unknown_key(path, value)
    if problem["type"] == "missing":
        around = ".".join(path[:-1])
        return f"{around + ' needs' if around else 'it needs'} the key {path[-1]!r}."
    message = _message(problem)
    if not key:
        return f"{message}."
    return f"{key}: {message}; got {_kind(problem['input'])}."


def _message(problem: Any) -> str:
    kind, message = problem["type"], str(problem["msg"])
    if kind == "string_pattern_mismatch":
        return "a name has up to 64 lower case letters, digits, '.', '_' and '-'"
    if kind in ("model_type", "dict_type"):
        return "expected keys below it"
    message = message.removeprefix("Value error, ")
    return message.replace("Input should be", "expected").split(", unable to")[0]


def _unknown_key(path: list[str], value: Any) -> str:
    *around, key = path
    model = _model_at(around)
    known = list(model.model_fields)
    where = ".".join(around)
    said = f"{where} has no key {key!r}." if where else f"there is no key {key!r}."
    elsewhere = _option_elsewhere(model, around, key, value)
    hint = elsewhere or did_you_mean(key, known)
    return f"{said}{hint} Keys{' of ' + where if where else ''}: {', '.join(known)}."


def _model_at(path: Sequence[str]) -> type[BaseModel]:
    """Return the class of the section at a path."""
    model: type[BaseModel] = Lifecycle
    for part in path:
        if not part.isdecimal():  # the place in a list of sections
            model = section_inside(model.model_fields[part].annotation) or model
    return model


def _option_elsewhere(model: type[BaseModel], path: list[str], key: str, value: Any) -> str:
    """Say that a key belongs to a technique of the section: ``align.beta``."""
    from tunesmith import plugins

    for name, field in model.model_fields.items():
        for mark in (m for m in field.metadata if isinstance(m, Of)):
            place = _at(value, [*path, name])
            spec = place.get("name") if isinstance(place, dict) else place
            known = plugins.host().available(mark.family)
            if spec in known and key in known[str(spec)].model_fields:
                return f" It is an option of {spec}: write {'.'.join([*path, name, key])}."
    return ""


def _at(value: Any, path: Sequence[str]) -> Any:
    for part in path:
        if isinstance(value, list) and part.isdecimal():
            value = value[int(part)]
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value


def _kind(value: Any) -> str:
    """Show a value the way YAML writes it, with what it is."""
    names = {str: "text", bool: "true or false", int: "a number", float: "a number"}
    names |= {list: "a list", dict: "keys", type(None): "nothing"}
    kind = names.get(type(value), type(value).__name__)
    if value is None or isinstance(value, dict):
        return kind if not value else f"the keys {', '.join(map(str, value))}"
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({kind})"


def anchored(value: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the config with its relative paths made absolute; what is no path stays as it is."""
    changed = dict(value)
    if isinstance(model := changed.get("model"), str) and _is_folder(model, folder):
        changed["model"] = str((folder / model).resolve())
    for section in (name for name in changed if isinstance(changed[name], dict)):
        field = Lifecycle.model_fields.get(section)
        if field is not None:
            changed[section] = _anchored_section(_model_at([section]), changed[section], folder)
    return changed


def _is_folder(model: str, folder: Path) -> bool:
    """Tell a folder from a Hub id: it starts with a dot, or it is there."""
    if model == "scratch" or model.startswith(("builtin:", "~", "/")):
        return False
    return model.startswith(".") or (folder / model).is_dir()


def _anchored_section(
    model: type[BaseModel], section: dict[str, Any], folder: Path
) -> dict[str, Any]:
    changed = dict(section)
    for name, field in model.model_fields.items():
        inner = section_inside(field.annotation)
        if inner is not None and name in section:
            changed[name] = _anchored_inside(inner, section[name], folder)
        for mark in (m for m in field.metadata if isinstance(m, Of) and name in section):
            given = section[name]
            changed[name] = (
                [_anchored_spec(mark, spec, folder) for spec in given]
                if isinstance(given, list)
                else _anchored_spec(mark, given, folder)
            )
    return changed


def _anchored_inside(model: type[BaseModel], given: Any, folder: Path) -> Any:
    """Return a section within a section, or a list of them, with absolute paths."""
    if isinstance(given, list):
        return [_anchored_inside(model, one, folder) for one in given]
    return _anchored_section(model, given, folder) if isinstance(given, dict) else given


def _anchored_spec(mark: Of, spec: Any, folder: Path) -> Any:
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
        return spec
    paths = [*_path_options(mark.family, spec["name"]), *(k for k in mark.beside if k == "student")]
    moved = {
        key: str((folder / Path(spec[key]).expanduser()).resolve())
        for key in paths
        if isinstance(spec.get(key), str) and not str(spec[key]).startswith("builtin:")
    }
    return {**spec, **moved}


def _path_options(family: type[Technique], name: str) -> Iterator[str]:
    """Yield the options of a technique that are declared as paths; none for an unknown one."""
    from tunesmith import plugins

    try:
        technique = plugins.host().find(family, name)
    except PluginError:
        return  # preflight says so, with everything else
    for key, field in technique.model_fields.items():
        if Path in (field.annotation, *get_args(field.annotation)):
            yield key
