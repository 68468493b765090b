"""Aligning every stream of a cohort's cases into the files of one shard, some whole subjects at a time."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ingest.align.block import Aligner
from ingest.align.check import input_codes
from ingest.align.events import Cases, Events
from ingest.align.fit_statistics import Moments
from ingest.align.report import Tally
from ingest.align.report_texts import write_report_texts
from ingest.align.request import Request
from ingest.align.shard import StreamWriter, index_table
from ingest.align.source import with_cases
from ingest.files import write_parquet
from ingest.statistics import Statistics

CHUNK = 2048  # cases aligned together: with the rows of a chunk of observations, what bounds memory
Progress = Callable[[str, int, int], None]  # stage, done, of


@dataclass(frozen=True)
class Shard:
    """The cases of a shard and how its streams are kept. split (C,); levels, dtypes: by stream, over all subjects.

    tallies: by stream, filled as it is aligned; report_tally: of the texts that are to be drafted.
    """

    cases: Cases
    split: np.ndarray
    levels: Mapping[str, Mapping[str, tuple[str, ...]]]
    dtypes: Mapping[str, np.dtype]
    tallies: Mapping[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    report_tally: Tally = field(default_factory=Tally)


def write_shard(
    request: Request, shard: Shard, folder: Path, progress: Progress | None = None
) -> tuple[Statistics, dict[str, np.ndarray]]:
    """Align every stream into `folder`.

    Returns the statistics fitted on the training cases on the way, and stream -> the row of each case or -1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names, train = list(request.task.streams), shard.split == "train"

    def aligner(name: str, events: Events) -> Aligner:
        return request.aligner(name, events, shard.tallies[name], shard.levels.get(name), shard.dtypes.get(name))

    bare = {name: aligner(name, Events.none()) for name in names}
    moments = {name: Moments(bare[name].statistics) for name in names}
    done, of = 0, len(names) * len(shard.cases)
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(StreamWriter(folder, name, len(shard.cases), bare[name].empty()))
            for name in names
        }
        for first, cases, prepared in with_cases(request.chunks(input_codes(request.task)), shard.cases):
            for name in names:
                mine = aligner(name, prepared.events)
                for start, some in cases.chunks(CHUNK):
                    for block in mine.blocks(some):
                        writers[name].append(block, first + start)
                        chosen = train[first + start + block.case]
                        moments[name].add(block.values[chosen], block.observed[chosen])
                    done += len(some)
                    if progress is not None:
                        progress(name, done, of)
    write_report_texts(request, shard.cases, folder, shard.report_tally)
    write_parquet(folder / "index.parquet", index_table(request.task, shard.cases, shard.split, writers))
    known = shard.cases.target[train & ~np.isnan(shard.cases.target)]
    prevalence = float(known.mean()) if len(known) else float("nan")
    fitted = {name: part.statistics() for name, part in moments.items()}
    return Statistics(fitted, int(train.sum()), prevalence), {name: writer.row for name, writer in writers.items()}
