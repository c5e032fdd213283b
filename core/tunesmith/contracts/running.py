"""What quantizers, accelerators and engines promise, tried on a tiny random Llama."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from tunesmith import plugins
from tunesmith.contracts.rules import (
    Breach,
    NotTried,
    Subject,
    must_be,
    must_be_json,
    shown,
    with_model,
)
from tunesmith.contracts.tiny import tiny_model
from tunesmith.endpoints import Endpoint
from tunesmith.errors import TunesmithError
from tunesmith.generation.accelerate import with_accelerators
from tunesmith.generation.exporting import readable
from tunesmith.records import Completion, Generation, Outcome, Token
from tunesmith.techniques import Engine, OpenEngine, Sampler, StreamingEngine

PROMPTS = [[10, 42, 77, 5, 130], [200, 17], [99, 98, 97, 96, 95, 94, 93]]
_NEW = 8


@lru_cache(maxsize=1)
def _host() -> plugins.Host:
    """Return every installed plugin, those that are switched off here too."""
    return plugins.load(disabled=set())


def _how(count: int, sampler: str = "greedy") -> Generation:
    made = _host().build(Sampler, sampler)
    return Generation(made, _NEW, list(range(count)), stop_ids=())


def _digest(folder: Path) -> str:
    hasher = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        hasher.update(path.name.encode() + path.read_bytes())
    return hasher.hexdigest()


def _quantized(subject: Subject) -> tuple[Path, Outcome]:
    out = subject.folder / "out"
    out.mkdir()
    outcome = subject.build().quantize(tiny_model(), out)
    must_be(outcome, Outcome, "quantize()", "a tunesmith.Outcome")
    must_be_json(outcome.metrics, "metrics of quantize()")
    return out, outcome


def says_what_it_weighs(subject: Subject) -> None:
    """quantize(model_dir, out) writes files; metrics hold bytes and bits_per_weight."""
    before = _digest(tiny_model())
    out, outcome = _quantized(subject)
    if not any(path.is_file() for path in out.rglob("*")):
        raise Breach("wrote nothing to `out`")
    for key in ("bytes", "bits_per_weight"):
        number = outcome.metrics.get(key)
        if not isinstance(number, int | float) or isinstance(number, bool) or number <= 0:
            raise Breach(f"must say how much it saves: metrics[{key!r}] is {shown(number)}")
    if _digest(tiny_model()) != before:
        raise Breach("changed the model it was given; write to `out` alone")


def is_run_by_its_engine(subject: Subject) -> None:
    """The engine it names reads what it wrote, and answers."""
    name = getattr(subject.kind, "engine", "")
    engine = _engine(name)
    out, _ = _quantized(subject)
    if not engine.reads(out):
        raise Breach(f"writes what the engine {name!r} does not read")
    with engine.open(out) as opened:
        _answers(opened, PROMPTS)


def _engine(name: str) -> Engine:
    host = _host()
    try:
        engine = host.build(Engine, name)
    except TunesmithError as error:
        raise Breach(f"names the engine {name!r}. {error}") from error
    lacking = engine.lacks()
    if isinstance(engine, Endpoint):
        lacking = [*lacking, *engine.endpoint_problems()]
    if lacking:
        raise NotTried(f"its engine {name!r} cannot run here: {lacking[0]}")
    return engine


QUANTIZER = (with_model(says_what_it_weighs), with_model(is_run_by_its_engine))


def sets_engine_options(subject: Subject) -> None:
    """options() returns a dict of options that the engine it names has."""
    accelerator = subject.build()
    options = accelerator.options()
    must_be(options, dict, "options()", "a dict")
    must_be_json(options, "what options() returns")
    if not options:
        raise Breach("sets nothing; options() is empty")
    engine = _engine(accelerator.engine)
    try:
        with_accelerators(engine, [accelerator])
    except TunesmithError as error:
        raise Breach(f"does not fit its engine: {error}") from error


def changes_no_answer(subject: Subject) -> None:
    """The engine's greedy answers are the same with it and without it."""
    accelerator = subject.build()
    plain = _engine(accelerator.engine)
    folder = _readable(plain, subject.folder)
    said = []
    for engine in (plain, with_accelerators(plain, [accelerator])):
        with engine.open(folder) as opened:
            said.append([one.ids for one in _answers(opened, PROMPTS)])
    if said[0] != said[1]:
        raise Breach("changes what the engine says; an accelerator preserves every answer")


ACCELERATOR = (with_model(sets_engine_options), with_model(changes_no_answer))


def _answers(opened: OpenEngine, prompts: list[list[int]]) -> list[Completion]:
    done = opened.generate(prompts, _how(len(prompts)))
    must_be(done, list, "generate()", "a list of tunesmith.Completion")
    if len(done) != len(prompts):
        raise Breach(f"gave {len(done)} completions for {len(prompts)} prompts")
    for one in done:
        must_be(one, Completion, "generate()", "tunesmith.Completion objects")
        _check_completion(one)
    return done


def _check_completion(one: Completion) -> None:
    whole = isinstance(one.ids, list) and all(type(token) is int for token in one.ids)
    if not whole or not isinstance(one.text, str):
        raise Breach(f"must give token ids (ints) and their text; it gave {shown(one)}")
    if one.finish not in ("stop", "length"):
        raise Breach(f"says finish={one.finish!r}; it is 'stop' or 'length'")
    if not 1 <= len(one.ids) <= _NEW:
        raise Breach(f"gave {len(one.ids)} tokens where up to {_NEW} were asked for")


def _readable(engine: Engine, folder: Path) -> Path:
    """Return a folder with the tiny model that the engine reads, unchanged by any quantizer."""
    try:
        return readable(engine, tiny_model(), folder / "unchanged")
    except TunesmithError as error:
        raise NotTried(f"reads no form of a model that the kit can write: {error}") from error


def knows_what_it_reads(subject: Subject) -> None:
    """reads(folder) says True or False, and False of an empty folder."""
    engine = subject.build()
    for folder in (tiny_model(), subject.folder):
        must_be(engine.reads(folder), bool, "reads()", "True or False")
    if engine.reads(subject.folder):
        raise Breach("claims to read an empty folder")


def answers_prompts(subject: Subject) -> None:
    """open(model) is a context in which generate() gives one completion per prompt, in order."""
    engine = subject.build()
    folder = _readable(engine, subject.folder)
    context: Any = engine.open(folder)
    if not hasattr(context, "__enter__"):
        raise Breach(f"must return a context manager from open(); it returned {shown(context)}")
    with context as opened:
        together = [one.ids for one in _answers(opened, PROMPTS)]
        backwards = [one.ids for one in _answers(opened, PROMPTS[::-1])]
        if opened.generate([], _how(0)) != []:
            raise Breach("must answer no prompts with an empty list")
    if together != backwards[::-1]:
        raise Breach("mixes the prompts up: in another order they have other greedy answers")


def says_what_the_model_says(subject: Subject) -> None:
    """Its greedy answers are those of the reference engine."""
    engine = subject.build()
    with _engine("transformers").open(tiny_model()) as reference:
        wanted = [one.ids for one in _answers(reference, PROMPTS)]
    with engine.open(_readable(engine, subject.folder)) as opened:
        found = [one.ids for one in _answers(opened, PROMPTS)]
    if found != wanted:
        at = next(n for n, ids in enumerate(found) if ids != wanted[n])
        raise Breach(f"continues {PROMPTS[at]} with {found[at]}; the model says {wanted[at]}")


def streams_what_it_generates(subject: Subject) -> None:
    """stream(), where it has one, yields the tokens of generate(), with log-probabilities."""
    engine = subject.build()
    with engine.open(_readable(engine, subject.folder)) as opened:
        if not isinstance(opened, StreamingEngine):
            return  # its answers are shown when they are whole
        for sampler in ("greedy", "random"):
            how = _how(1, sampler)
            whole = opened.generate(PROMPTS[:1], how)[0].ids
            tokens = list(opened.stream(PROMPTS[0], how, 2))
            for token in tokens:
                must_be(token, Token, "stream()", "tunesmith.Token objects")
                _check_token(token)
            if (found := [token.id for token in tokens]) != whole:
                raise Breach(f"streams {found} and generates {whole}, with the sampler {sampler}")


def _check_token(token: Token) -> None:
    if token.logprob is None or not token.logprob <= 0 or len(token.top) != 2:
        raise Breach(
            "must give a log-probability (0 or less) and as many alternatives as were asked for;"
            f" it gave {shown(token)}"
        )
    if token.top[0][1] < token.top[1][1]:
        raise Breach(f"must give the most probable alternatives first; it gave {shown(token)}")


ENGINE = tuple(
    map(
        with_model,
        (
            knows_what_it_reads,
            answers_prompts,
            says_what_the_model_says,
            streams_what_it_generates,
        ),
    )
)
