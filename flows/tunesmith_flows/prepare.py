"""Prepare the data: read the sources, filter, split, and say on a card what came of it."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith import Outcome, Row, plugins
from tunesmith.promises import streamed
from tunesmith.techniques import DatasetFilter, DatasetSource
from tunesmith_flows import staging
from tunesmith_flows.bench import Bench, write_json, write_json_lines
from tunesmith_flows.tasks import stage_task


@stage_task(name="prepare")
def prepare(run_id: str, made: dict[str, str]) -> str:
    """Return the id of the dataset."""
    return staging.staged("prepare", work, run_id, made)


def work(bench: Bench) -> Outcome:
    """Write one file per split and the data card."""
    from tunesmith.splits import data_card, filtered, split_rows

    data = bench.config.data
    filters = [plugins.build(DatasetFilter, spec) for spec in data.filters]
    kept, drops = filtered(read(bench), filters)
    splits = split_rows(kept, data.split, bench.seed)
    for split, rows in splits.items():
        write_json_lines(bench.out / f"{split}.jsonl", rows)
    card = data_card(splits, drops)
    write_json(bench.out / "card.json", card)
    counts = {split: len(rows) for split, rows in splits.items()}
    return Outcome(metrics={"rows": counts, "dropped": drops})


def read(bench: Bench) -> Iterator[Row]:
    """Yield the rows of every source in order; a stop is honoured between rows."""
    for number, spec in enumerate(bench.config.data.sources):
        source = plugins.build(DatasetSource, spec)
        for count, row in enumerate(streamed(source, "rows", source.rows(), dict), 1):
            if count % 1000 == 0:
                bench.report({"doing": f"{source.name}: {count:,} rows"})
                staging.check_stop(bench)
            yield row if len(bench.config.data.sources) == 1 else {"source": number, **row}
