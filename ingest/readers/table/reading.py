"""A part of a mapping while it is being read: what is remembered from batch to batch, so that nothing is done twice."""

from dataclasses import dataclass, field

import pyarrow as pa

from ingest.intake import Intake
from ingest.mapping.mapping import Table
from ingest.mapping.table import CodeCell
from ingest.meaning.clocks import ClockWatch
from ingest.readers.table.values import Codes

_REMEMBERED = 200_000  # subjects, so that each costs one keyed hash, not one a row


@dataclass
class Reading:
    """A part of a mapping being read, with what is remembered from batch to batch."""

    part: Table
    intake: Intake
    codes: list[Codes | None] = field(init=False)
    subjects: dict[str, int] = field(default_factory=dict)
    constants: dict[str | None, pa.Array] = field(default_factory=dict)
    absent: dict[str, pa.Array] = field(default_factory=dict)
    clocks: dict[str, ClockWatch] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.codes = [
            Codes(column.code, column.unit if isinstance(column.unit, str) else None)
            if isinstance(column.code, CodeCell)
            else None
            for column in self.part.columns
        ]

    def clock(self, column: str) -> ClockWatch:
        """The watch over a column that says when values were known."""
        return self.clocks.setdefault(column, ClockWatch(self.part.tolerance_hours))

    def note_clocks(self) -> None:
        """Tell how far clocks disagreed, over all the rows that were read."""
        for column, watch in self.clocks.items():
            for words, count in watch.notes().items():
                self.intake.report.note(f"{column}: {words}", count)

    def subject(self, identifier: str) -> int:
        """The number of a subject; -1 where nobody is named."""
        if not identifier:
            return -1
        if identifier not in self.subjects:
            if len(self.subjects) >= _REMEMBERED:
                self.subjects.clear()
            self.subjects[identifier] = self.intake.identity.stated_subject(self.part.subject.issuer, identifier)
        return self.subjects[identifier]

    def constant(self, text: str | None, n: int) -> pa.Array:
        """The same text n times, without making it anew for every column."""
        known = self.constants.get(text)
        if known is None or len(known) < n:
            known = self.constants[text] = pa.repeat(pa.scalar(text, pa.string()), n)
        return known.slice(0, n)

    def nothing(self, field: pa.Field, n: int) -> pa.Array:
        """No value n times, of the type of a field."""
        known = self.absent.get(field.name)
        if known is None or len(known) < n:
            known = self.absent[field.name] = pa.nulls(n, field.type)
        return known.slice(0, n)
