"""The store: runs, results, labels and releases, in one database and one artifact folder.

``store.open()`` gives a ``Store``; the functions of ``runs``, ``ledger``, ``campaigns``,
``registry`` and ``queries`` take it as their first argument.
"""

from tunesmith.store.artifacts import Artifact, ArtifactStore, Draft
from tunesmith.store.database import Store
from tunesmith.store.reconcile import reconcile
from tunesmith.store.schema import Upgraded, open_store, upgrade

open = open_store  # noqa: A001  `store.open()` is how it is read

__all__ = [
    "Artifact",
    "ArtifactStore",
    "Draft",
    "Store",
    "Upgraded",
    "open",
    "open_store",
    "reconcile",
    "upgrade",
]
