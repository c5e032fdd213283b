"""Contracts as tests: every promise of every technique of a plugin is an item of its own.

Name the plugin in the project's settings, ``tunesmith_contract = ["my_module"]``, or on the command
line, ``pytest --tunesmith-contract my_module``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tunesmith.contracts.bench import Bench
from tunesmith.errors import TunesmithError

_BENCHES: pytest.StashKey[list[Bench]] = pytest.StashKey()


class Broken(Exception):
    """Raised by an item whose contract is not kept."""


class ContractItem(pytest.Item):
    """One contract of one technique."""

    def __init__(self, *, bench: Bench, at: int, contract: Mapping[str, Any], **rest: Any) -> None:
        super().__init__(**rest)
        self.bench, self.at, self.contract = bench, at, contract

    def runtest(self) -> None:
        """Try the contract in the kit's other process."""
        result = self.bench.try_one(self.at, self.contract)
        if result.outcome == "skipped":
            pytest.skip(result.sentence)
        if result.outcome == "broken":
            raise Broken(f"{result}\nIts family promises: {result.promise}.")

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Show the sentence alone; the kit's own frames explain nothing."""
        if isinstance(excinfo.value, Broken):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return what stands above a failure."""
        return self.path, None, self.name


class TroubleItem(pytest.Item):
    """A plugin that cannot be tried at all."""

    def __init__(self, *, sentence: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.sentence = sentence

    def runtest(self) -> None:
        """Fail with the reason."""
        raise Broken(self.sentence)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Show the sentence alone."""
        return self.sentence

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return what stands above a failure."""
        return self.path, None, self.name


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting and the options."""
    group = parser.getgroup("tunesmith", "contracts of Tunesmith plugins")
    group.addoption(
        "--tunesmith-contract",
        action="append",
        default=[],
        metavar="TARGET",
        help="Try the contracts of this distribution, plugin or module; may be repeated.",
    )
    group.addoption(
        "--tunesmith-timeout",
        type=float,
        metavar="SECONDS",
        help="How long one contract may take, instead of its own limit.",
    )
    parser.addini("tunesmith_contract", "Plugins whose contracts are tests.", type="args")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the contracts; before `-k` and `-m` choose, and not where single tests were asked for."""
    named = list(config.getoption("--tunesmith-contract"))
    if not any("::" in arg for arg in config.args):
        named += config.getini("tunesmith_contract")
    config.stash[_BENCHES] = []
    for target in dict.fromkeys(named):
        try:
            bench = Bench(target, timeout=config.getoption("--tunesmith-timeout"))
        except TunesmithError as error:
            raise pytest.UsageError(str(error)) from error
        config.stash[_BENCHES].append(bench.__enter__())
        items += _items(session, bench)


def _items(session: pytest.Session, bench: Bench) -> list[pytest.Item]:
    found: list[pytest.Item] = []
    for number, sentence in enumerate(bench.troubles):
        name = f"{bench.target} loads"
        found.append(
            TroubleItem.from_parent(
                session, name=name, nodeid=f"tunesmith::{name}[{number}]", sentence=sentence
            )
        )
    for at, contract in bench.cases():
        offer = bench.offers[at]
        name = f"{offer['family']} {offer['technique']} {contract['contract']}"
        found.append(
            ContractItem.from_parent(
                session,
                name=name,
                nodeid=f"tunesmith::{name.replace(' ', '::')}",
                bench=bench,
                at=at,
                contract=contract,
            )
        )
    return found


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the other processes."""
    for bench in config.stash.get(_BENCHES, []):
        bench.__exit__()


@pytest.fixture(scope="session")
def tunesmith_tiny_model() -> Path:
    """Return the folder of a tiny random Llama with its tokenizer; do not write to it."""
    from tunesmith.contracts.tiny import tiny_model

    return tiny_model()
