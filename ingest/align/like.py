"""Aligning another hospital's observations for a model that exists: nothing of them is fitted, nobody is split."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from ingest.align.alone import alone
from ingest.align.build import report_of
from ingest.align.cases import Taken
from ingest.align.check import check_task
from ingest.align.report import AlignReport
from ingest.align.request import Request
from ingest.align.source import ObservationSource, as_source
from ingest.align.survey import survey
from ingest.align.write import Progress, Shard, write_shard
from ingest.delivery.shown_names import Bearing
from ingest.errors import TaskError
from ingest.files import replacing_folder, write_json
from ingest.meaning.vocabulary import EMPTY, Vocabulary
from ingest.statistics import Statistics
from ingest.task import Task


def align_like(
    observations: pa.Table | ObservationSource,
    task: Task,
    statistics: Statistics,
    out: Path,
    *,
    vocabulary: Vocabulary = EMPTY,
    catalogue: pa.Table | None = None,
    bearing: Bearing = lambda words: set(),
    progress: Progress | None = None,
) -> AlignReport:
    """Write the cohort of a model's own task to the folder `out`, with that model's statistics and levels.

    Every case is a test case. A text that is not among the model's levels is missing, and counted as `unknown level`;
    a stream that nobody has here is absent from every case. Raises TaskError, with nothing written, where no
    observation gives a case.
    """
    request = Request(task, as_source(observations), None, vocabulary, catalogue, bearing)
    with alone(out):
        check_task(task, request.source.code_counts, appending=True)
        found = survey(request, Taken())
        cases = found.found.cases
        if not len(cases):
            why = "; ".join(f"{reason}: {count}" for reason, count in found.found.excluded.items())
            raise TaskError(
                f"task {task.name}: expected cases in these observations, got none of {found.subjects} subjects "
                f"({found.found.candidates} candidates{'; excluded ' + why if why else ''})"
            )
        levels = {name: stream.levels for name, stream in statistics.streams.items()}
        shard = Shard(cases, np.full(len(cases), "test", object), levels, found.dtypes)
        with replacing_folder(out) as folder:
            _, rows = write_shard(request, shard, folder / "shards" / "00000", progress)
            report = report_of(request, found, shard, rows)
            write_json(folder / "task.json", task.model_dump(mode="json"))
            write_json(folder / "statistics.json", statistics.to_json())
            write_json(folder / "report.json", report.to_json())
    return report
