"""How Prefect treats a stage: it sees small JSON ids, and the ledger alone knows what is done."""

from __future__ import annotations

from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

# Prefect's own cache does not lock, its default results are pickles, and a stage that failed on
# its input fails again: what is safe to repeat is decided by people, with `tunesmith resume`.
stage_task = partial(
    task, cache_policy=NO_CACHE, persist_result=False, result_serializer="json", retries=0
)
