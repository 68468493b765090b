"""The texts that are to be drafted, kept beside the streams: what was written at the index time or after it.

They are an output. They lie in a file of their own, `report.parquet`, which `Cohort.batch` does not know.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from ingest.align.events import HOUR_US, STATIC, Cases, Events, owned
from ingest.align.report import Tally
from ingest.align.request import Request
from ingest.align.shard import GrowingTable
from ingest.align.source import with_cases
from ingest.cohort import Cohort
from ingest.errors import TaskError
from ingest.notes.sections import select_sections
from ingest.task import WrittenReport

FILE = "report.parquet"
SCHEMA = pa.schema([pa.field("case_id", pa.string()), pa.field("text", pa.large_string())])


def write_report_texts(request: Request, cases: Cases, folder: Path, tally: Tally) -> None:
    """Write the report of each case that has one to `folder`; nothing where the task asks for none."""
    spec = request.task.report
    if spec is None:
        return
    table = GrowingTable(folder / FILE, SCHEMA)
    try:
        for _, some, prepared in with_cases(request.chunks(set(spec.codes)), cases):
            found = dict(_first_texts(spec, prepared.events.select(spec.codes), some, tally))
            ids = [some.case_id[case] for case in found]
            table.append(pa.table([pa.array(ids, pa.string()), pa.array(list(found.values()))], SCHEMA))
            tally.add("cases with a report", len(found))
            tally.add("cases without one", len(some) - len(found))
    finally:
        table.close()


def read_report_texts(cohort: Cohort) -> pd.Series:
    """The report of each case that has one, by case_id. Raises TaskError where the cohort was aligned without any."""
    parts = []
    for shard in sorted(cohort.index["shard"].unique()):
        path = cohort.shard_folder(int(shard)) / FILE
        if not path.is_file():
            raise TaskError(
                f"{path}: expected the reports that are to be drafted, found none; give the task a `report` with the "
                "codes of the text, and align again"
            )
        parts.append(pd.read_parquet(path).set_index("case_id")["text"].astype(object))
    return pd.concat(parts) if parts else pd.Series(dtype=object)


def _first_texts(spec: WrittenReport, events: Events, cases: Cases, tally: Tally) -> Iterator[tuple[int, str]]:
    """(position of the case, its report): the earliest known one with something in it, in order of case."""
    pairs = owned(events, cases)
    known, index = events.known[pairs.event], cases.index_time[pairs.case]
    if cases.timed:
        early = (known < index) | (events.time[pairs.event] == STATIC)
        late = np.zeros(len(known), bool)
        if spec.horizon_hours is not None:
            late = ~early & (known > index + round(spec.horizon_hours * HOUR_US))
        tally.add("known before the index time", early)
        tally.add("beyond the horizon", late)
        pairs = pairs.where(~(early | late))
    order = np.lexsort([pairs.event, events.known[pairs.event], pairs.case])
    texts = events.column("text_value").take(pa.array(pairs.event[order])).to_pylist()
    done = -1
    for case, text in zip(pairs.case[order].tolist(), texts, strict=True):
        if case == done:
            tally.add("later reports", 1)
        elif chosen := _prepared(spec, text or "", tally):
            done = case
            yield case, chosen
        else:
            tally.add("empty", 1)


def _prepared(spec: WrittenReport, text: str, tally: Tally) -> str:
    """The sections asked for, without what is redacted."""
    keep, leave_out, redact = (
        [re.compile(pattern, re.IGNORECASE) for pattern in patterns]
        for patterns in (spec.sections, spec.without_sections, spec.redact)
    )
    text = select_sections(text, keep, leave_out)
    for pattern in redact:
        text, count = pattern.subn(" ", text)
        tally.note("passages redacted", count)
    return text.strip()
