"""Facts as columns: appended one at a time, turned to Arrow all at once, judged by the vocabulary as a whole."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.account.quarantine import Refusal
from ingest.meaning.clocks import HOUR_US
from ingest.meaning.vocabulary import EMPTY, Vocabulary
from ingest.observations import SCHEMA
from ingest.readers.fhir.facts import Context, Fact
from ingest.readers.fhir.quick import QuickLines
from ingest.readers.fhir.quick_events import NO_EVENTS, Events

Parts = tuple[str, str, str, str]  # of a refusal: field, expected, got, hint
_COLUMNS = tuple(Fact._fields[:-1])  # all but the lookup
FACTS = pa.schema(
    [SCHEMA.field(name) if name != "numeric_value" else pa.field(name, pa.float64()) for name in _COLUMNS]
)  # numbers as they were stated, until the vocabulary has judged them
_ZONED = pa.timestamp("us", "UTC")
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999  # years 1 to 9999 in microseconds: what Python can say


class FactColumns:
    """The facts of a chunk. `finish` gives them as one batch, with the record that each is of."""

    def __init__(self) -> None:
        self._columns: list[list[object]] = [[] for _ in _COLUMNS]
        self._records: list[int] = []
        self._quick = QuickLines()
        self._events = NO_EVENTS

    def __len__(self) -> int:
        """How many facts came the full way: the number of the next one's row."""
        return len(self._records)

    def add(self, record: int, fact: Fact) -> None:
        """A fact of a record."""
        self._records.append(record)
        for column, value in zip(self._columns, fact, strict=False):  # the last is the lookup, kept elsewhere
            column.append(value)

    def take_quick(self, found: QuickLines) -> None:
        """Observations that were read quickly: the first records, a fact each."""
        self._quick = found

    def take_events(self, found: Events) -> None:
        """Events that were read quickly: the records after those Observations."""
        self._events = found

    def finish(self, context: Context, vocabulary: Vocabulary) -> tuple[pa.RecordBatch, np.ndarray, dict[int, Parts]]:
        """(facts, the record of each, what is wrong with records): rows in the order of `add`, then those read quickly.

        Records are numbered with the quick ones before all others. Those that are wrong still have their rows.
        """
        problems: dict[int, Parts] = {}
        quick, events = len(self._quick.numbers), len(self._events.numbers)
        groups = [[pa.array(values, field.type) for values, field in zip(self._columns, FACTS, strict=True)]]
        if quick:
            groups.append(_quick_columns(self._quick, context, problems))
        if events:
            groups.append(_of_events(self._events))
        batch = pa.RecordBatch.from_arrays(list(map(pa.concat_arrays, zip(*groups, strict=True))), schema=FACTS)
        own = np.array(self._records, np.int64)
        records = np.concatenate([own + quick + events, np.arange(quick), self._events.owners + quick])
        if vocabulary is not EMPTY:
            batch = _judged(batch, records, vocabulary, context, problems)
        return batch, records, problems


def _quick_columns(quick: QuickLines, context: Context, problems: dict[int, Parts]) -> list[pa.Array]:
    time, available = _times(quick, context, problems)
    columns = {
        "code": pa.array(quick.codes, pa.string()),
        "time": time,
        "numeric_value": pa.array(np.array(quick.values, np.float64)),
        "unit": pa.array(quick.units, pa.string()),
        "available_time": available,
    }
    return [columns.get(field.name, pa.nulls(len(quick.numbers), field.type)) for field in FACTS]


def _of_events(events: Events) -> list[pa.Array]:
    kind = FACTS.field("time").type
    columns = {
        "code": pa.array(events.codes, pa.string()),
        "time": pa.array(events.times).cast(kind),
        "numeric_value": pa.array(events.values, pa.float64()),
        "text_value": pa.array(events.texts, FACTS.field("text_value").type),
        "unit": pa.array(events.units, pa.string()),
        "available_time": pa.array(events.known).cast(kind),
    }
    return [columns.get(field.name, pa.nulls(len(events.codes), field.type)) for field in FACTS]


def _times(quick: QuickLines, context: Context, problems: dict[int, Parts]) -> tuple[pa.Array, pa.Array]:
    """(when things were, when they could be known): all at once where Arrow can tell, else one by one."""
    kind = FACTS.field("time").type
    try:
        moments = [
            pc.cast(pa.array(each, pa.string()), _ZONED).cast(pa.int64()) for each in (quick.times, quick.issued)
        ]
        if all(_in_calendar(each) for each in moments):
            start, issued = (each.cast(kind) for each in moments)
            _watch_clocks(start.cast(pa.int64()), issued.cast(pa.int64()), context, problems)
            return start, pc.max_element_wise(start, issued, skip_nulls=True)
    except pa.ArrowInvalid:
        pass  # a date, a time without a zone, or no time at all
    starts: list[int | None] = []
    known: list[int | None] = []
    for record, (text, released) in enumerate(zip(quick.times, quick.issued, strict=True)):
        noted = context.notes.copy()
        start = available = None
        try:
            moment = context.moment(text, "effectiveDateTime")
            start, available = moment.start, context.known(moment, released or "", "issued")
        except Refusal as refusal:
            context.notes = noted
            problems[record] = (refusal.field, refusal.expected, refusal.got, refusal.hint)
        starts.append(start)
        known.append(available)
    return pa.array(starts, kind), pa.array(known, kind)


def _watch_clocks(start: pa.Array, issued: pa.Array, context: Context, problems: dict[int, Parts]) -> None:
    """Notice what was issued before it was measured; what was so long before is its record's problem. (FAULTS 11)"""
    early = pc.fill_null(pc.less(issued, start), fill_value=False)
    if not pc.any(early).as_py():
        return
    at = np.flatnonzero(early.to_numpy(zero_copy_only=False))
    times, known = (each.take(pa.array(at)).to_numpy() for each in (start, issued))
    for place in np.flatnonzero(context.clock.add(times, known)).tolist():
        refusal = context.clock.refusal(float(times[place] - known[place]) / HOUR_US)
        problems[int(at[place])] = (refusal.field, refusal.expected, refusal.got, refusal.hint)


def _in_calendar(moments: pa.Array) -> bool:
    ends = pc.min_max(moments).as_py()
    return ends["min"] is None or (ends["min"] >= _FIRST and ends["max"] <= _LAST)


def _judged(
    batch: pa.RecordBatch, records: np.ndarray, vocabulary: Vocabulary, context: Context, problems: dict[int, Parts]
) -> pa.RecordBatch:
    """Numbers in the vocabulary's units; what cannot be right becomes its record's problem."""
    numeric = batch.column(FACTS.get_field_index("numeric_value"))
    values = pc.fill_null(numeric, np.nan).to_numpy(zero_copy_only=False)
    codes, units = (batch.column(FACTS.get_field_index(name)) for name in ("code", "unit"))
    judged = vocabulary.judge(codes, values, units)
    for row, problem in judged.problems.items():
        problems.setdefault(int(records[row]), problem)
    context.notes.update(judged.notes)
    changed = pa.array(judged.values, mask=np.isnan(judged.values))
    place = {"numeric_value": changed, "unit": judged.units.cast(pa.string())}
    arrays = [place.get(field.name, batch.column(i)) for i, field in enumerate(FACTS)]
    return pa.RecordBatch.from_arrays(arrays, schema=FACTS)
