"""The process in which techniques are tried: it may hang or die, and the kit goes on.

It reads one JSON request per line and answers on the descriptor that was its standard output;
whatever a plugin prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.contracts.rules import Contract, Subject
    from tunesmith.plugin_host import Provenance
    from tunesmith.techniques import Technique

Options = dict[str, dict[str, Any]]
"""Options to try a technique with, by its name."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A technique of the target, with everything its contracts are tried with."""

    kind: type[Technique]
    where: Provenance
    contracts: tuple[Contract, ...]
    options: dict[str, Any]
    heavy: tuple[str, ...]
    seconds: float

    def record(self) -> dict[str, Any]:
        """Return what the kit is told of it."""
        return {
            "family": self.kind.family,
            "technique": self.kind.name,
            "plugin": self.where.plugin,
            "distribution": self.where.distribution,
            "version": self.where.version,
            "contracts": [
                {"contract": one.name, "promise": one.promise, "seconds": one.seconds}
                for one in self.contracts
            ],
        }


def main() -> None:
    """Load the target named in the first line, then try one contract per line."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    first = json.loads(sys.stdin.readline())
    sys.path[:] = first["path"]
    offers, troubles = _offers(first["target"], first["options"])
    _say(out, {"offers": [one.record() for one in offers], "troubles": troubles})
    for line in sys.stdin:
        request = json.loads(line)
        offer = offers[request["technique"]]
        contract = next(one for one in offer.contracts if one.name == request["contract"])
        _warm(contract.warm, offer.where.distribution)
        _say(out, {"begun": True})
        _say(out, _tried(offer, contract))


def _say(out: IO[str], record: dict[str, Any]) -> None:
    out.write(json.dumps(record) + "\n")
    out.flush()


def _warm(what: str, own: str) -> None:
    """Import what is slow and make the model, so that no technique pays for it."""
    if what == "plugins":
        from tunesmith.contracts.generic import names_of_others

        names_of_others(own)
    elif what == "torch":
        import torch

        torch.set_num_threads(1)
    elif what:
        from tunesmith.contracts.tiny import tiny_model

        tiny_model()


def _offers(target: str, options: Options) -> tuple[list[Offer], list[str]]:
    from tunesmith.contracts.finding import load
    from tunesmith.techniques import FAMILIES

    found = load(target)
    host = found.host
    troubles = [
        f"The plugin {one.plugin} of {one.distribution} cannot be loaded: {one.error}."
        for one in host.broken
    ]
    troubles += [host.conflict(*key) for key in host.conflicts]
    each = found.seconds / max(1, len(host.distributions))
    offers = [
        _offer(kind, host.provenance(kind), host.heavy, each, options)
        for family in FAMILIES
        for kind in host.available(family).values()
    ]
    if not offers and not troubles:
        troubles = [f"{target} offers no technique."]
    return offers, troubles


def _offer(
    kind: type[Technique],
    where: Provenance,
    heavy: dict[str, list[str]],
    seconds: float,
    options: Options,
) -> Offer:
    from tunesmith.contracts.catalogue import contracts_of
    from tunesmith.techniques import FAMILIES

    family = next(one for one in FAMILIES if issubclass(kind, one))
    chosen = {**_examples(kind), **options.get(kind.name, {})}
    found = tuple(heavy.get(where.plugin, ()))
    return Offer(kind, where, contracts_of(family), chosen, found, seconds)


def _examples(kind: type[Technique]) -> dict[str, Any]:
    """Return the first example of every option that gives one."""
    return {key: field.examples[0] for key, field in kind.model_fields.items() if field.examples}


def _tried(offer: Offer, contract: Contract) -> dict[str, str]:
    """Return how it went: ``{"outcome": "kept"}``, or broken or skipped with a sentence."""
    from tunesmith.contracts.generic import EVERY
    from tunesmith.contracts.rules import Breach, NotBuilt, NotTried
    from tunesmith.errors import Waiting

    with tempfile.TemporaryDirectory(prefix="tunesmith-contract-") as folder:
        subject = _subject(offer, Path(folder).resolve())
        try:
            if missing := _missing(offer.kind):
                raise NotTried(f"needs {missing}, which is not installed here")
            if contract.warm in ("torch", "model"):
                _check_machine(subject)
            if contract not in EVERY and (why := _silent_server(subject)):
                raise NotTried(f"asks a server that cannot be asked here: {why}")
            contract.check(subject)
        except Breach as error:
            return {"outcome": "broken", "sentence": str(error).rstrip(".")}
        except NotBuilt:
            return {"outcome": "skipped", "sentence": "cannot be built"}
        except (NotTried, Waiting) as error:
            return {"outcome": "skipped", "sentence": str(error).rstrip(".")}
        # A stranger's verb may raise anything, and some call sys.exit().
        except (Exception, SystemExit) as error:  # noqa: BLE001
            from tunesmith.blame import in_words

            return {"outcome": "broken", "sentence": in_words(error, offer.kind)}
    return {"outcome": "kept"}


def _silent_server(subject: Subject) -> str:
    """Return why the server that a technique asks does not answer; empty where it asks none."""
    from tunesmith.endpoints import Endpoint

    if not issubclass(subject.kind, Endpoint):
        return ""
    return next(iter(subject.build().endpoint_problems()), "")


def _subject(offer: Offer, folder: Path) -> Subject:
    from tunesmith.contracts.rules import Subject

    work = folder / "folder"
    work.mkdir()
    options = {key: _placed(value, folder) for key, value in offer.options.items()}
    return Subject(offer.kind, offer.where, options, work, offer.heavy, offer.seconds)


def _placed(value: Any, folder: Path) -> Any:
    """Put an example that is a relative path into the folder; rows lie there if it names a file.

    ``labels.jsonl`` gets labels of the pairs that feedback sources are tried with.
    """
    if not isinstance(value, Path):
        return value
    path = folder / value
    content = _content(path)
    if content:
        path.write_text(content, encoding="utf-8")
    return path


def _content(path: Path) -> str:
    from tunesmith.contracts.samples import pairs, rows

    if path.name == "labels.jsonl":
        labels: list[dict[str, Any]] = [{"pair_id": one.id, "verdict": "first"} for one in pairs()]
        return "".join(json.dumps(label) + "\n" for label in labels)
    if path.suffix == ".jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows())
    if path.suffix == ".csv":
        said = [(row["prompt"][0]["content"], row["completion"][0]["content"]) for row in rows()]
        return "".join(f'"{one}","{other}"\n' for one, other in [("prompt", "completion"), *said])
    if path.suffix == ".txt":
        return "A kite flew over the river.\n\nTwo drums were loud.\n"
    return ""


def _missing(kind: type[Technique]) -> str:
    import importlib.util

    needs = kind.needs if isinstance(kind.needs, tuple) else ()
    for name in needs:
        try:
            if importlib.util.find_spec(name) is None:
                return str(name)
        except (ImportError, ValueError):
            return str(name)
    return ""


def _check_machine(subject: Subject) -> None:
    """Raise NotTried when the technique cannot run on this machine, and says so itself."""
    from tunesmith.contracts.rules import Breach, NotTried, shown

    found: Any = subject.build().lacks()
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise Breach(f"must return a list of sentences from lacks(); it returned {shown(found)}")
    if found:
        raise NotTried(f"cannot run on this machine: {found[0]}")


if __name__ == "__main__":
    main()
