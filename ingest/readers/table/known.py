"""What of a table is new: files that grew by rows at their end, and rows that are known again by their key."""

import hashlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.delivery.sources import SourceFile
from ingest.errors import InputError
from ingest.intake import ALREADY, KNOWN_STAYS, Intake
from ingest.mapping.mapping import Table
from ingest.readers.table.cells import as_text
from ingest.readers.table.files import is_plain_text
from ingest.readers.table.rows import Rows
from ingest.readers.table.values import Mask

_BETWEEN = "\x1f"  # the unit separator, which no cell of a table should hold
_BLOCK = 1024 * 1024


@dataclass(frozen=True)
class Known:
    """What an earlier run read of a file. bytes: where its rows end, if the file has grown since."""

    records: int
    refused: frozenset[str]
    bytes: int = 0


def file_key(file: SourceFile, part: Table, intake: Intake) -> str:
    """What a file is known by: its content, and its name where that says who the subject is."""
    if part.subject.name is None:
        return file.sha256
    return f"{file.sha256}/{intake.identity.digest(file.relative)}"


def known_rows(file: SourceFile, part: Table, intake: Intake) -> Known | None:
    """What is known of a file already: all of it, or its first rows where it has only grown since.

    Raises InputError where it was read under another mapping: its rows would count twice.
    """
    key = file_key(file, part, intake)
    if (known := intake.ledger.file(key)) is not None:
        _check_reading(file, part, known.reading)
        return Known(known.records, known.refused)
    earlier = intake.ledger.earlier("table", _place(file, part, intake))
    if earlier is None or part.names:
        return None
    size, earlier_key = earlier.split(":", 1)
    known = intake.ledger.file(earlier_key)
    if known is None or known.reading != part.reading or not _begins_with(file, int(size), earlier_key.split("/")[0]):
        if part.key is None:
            intake.report.note("table of this name was read before with other content: all its rows count")
        return None
    return Known(known.records, known.refused, int(size))


def enter_file(file: SourceFile, part: Table, intake: Intake, records: int, refused: frozenset[str]) -> None:
    """A file was read to its end."""
    key = file_key(file, part, intake)
    intake.ledger.enter_file(key, part.reading, records, refused)
    if part.subject.name is None and is_plain_text(file):
        intake.ledger.enter("table", _place(file, part, intake), f"{file.path.stat().st_size}:{key}")


def _place(file: SourceFile, part: Table, intake: Intake) -> str:
    return intake.identity.digest(f"{part.path}{_BETWEEN}{file.relative}")


def _begins_with(file: SourceFile, size: int, sha256: str) -> bool:
    """Whether the file's first bytes are an earlier version of it, and a row ends there."""
    if not is_plain_text(file) or file.path.stat().st_size <= size or not size:
        return False
    digest = hashlib.sha256()
    with file.path.open("rb") as opened:
        left, last = size, b""
        while left and (piece := opened.read(min(left, _BLOCK))):
            digest.update(piece)
            left, last = left - len(piece), piece[-1:]
        after = opened.read(1)
    return digest.hexdigest() == sha256 and (last in b"\r\n" or after in b"\r\n")


def _check_reading(file: SourceFile, part: Table, reading: str) -> None:
    if reading != part.reading:
        raise InputError(
            file.name, expected="the mapping under which this file was ingested before", got="another",
            hint="its rows would count twice; use a new workspace",
        )  # fmt: skip


@dataclass
class KeyedRows:
    """Rows known again by the columns of `key`: the same content is skipped, another replaces the earlier.

    The ledger keeps for each key a digest of the row's content, of the mapping, and where the row was.
    """

    part: Table
    intake: Intake

    def fresh(self, rows: Rows) -> tuple[Rows, list[str]]:
        """The rows that are new or changed, and their keys; the others are counted as known."""
        contents = self._digests(rows, self.part.needed)
        columns = self.part.key if isinstance(self.part.key, tuple) else ()
        keys = self._digests(rows, columns) if columns else self._numbered(contents)
        found = self.intake.ledger.find("row", keys)
        kept, twice = np.ones(len(rows), np.bool_), 0
        again: dict[str, str] = {}
        last: dict[str, str] = {}  # the content under each key, row after row
        for place, (key, content) in enumerate(zip(keys, contents, strict=True)):
            before, last[key] = last.get(key), content
            if before is not None:
                kept[place] = before != content
                twice += before == content
                continue
            if (known := found.get(key)) is None:
                continue
            digest, reading, *_ = known[0].split(_BETWEEN)
            _check_reading(rows.files[int(rows.file[place])], self.part, reading)
            if digest == content:
                kept[place] = False
                again[key] = known[0]
        if self.part.key == "row":
            self.intake.ledger.enter_all("row", again)  # seen in this run, so that the next one alike is another
        self.intake.report.skip("table", "duplicate", twice)
        self.intake.report.skip("table", ALREADY, int((~kept).sum()) - twice)
        return rows.where(kept), [key for key, keep in zip(keys, kept.tolist(), strict=True) if keep]

    def enter(self, rows: Rows, keys: list[str], used: Mask, refused: Mask) -> None:
        """The rows that were used; what they correct is taken back."""
        contents = self._digests(rows, self.part.needed)
        known = {key: value for key, (value, _) in self.intake.ledger.find("row", keys).items()}
        entries: dict[str, str] = {}
        for place in np.flatnonzero(used | refused).tolist():
            key, source = keys[place], rows.files[int(rows.file[place])].source
            if refused[place]:
                self.intake.report.note(KNOWN_STAYS, int(key in known))
                continue
            if key in known:
                _, _, label, earlier = known[key].split(_BETWEEN)
                self.intake.retire(earlier, label, "corrected")
            entry = _BETWEEN.join([contents[place], self.part.reading, f"row {rows.numbers[place]}", source])
            known[key] = entries[key] = entry
        self.intake.ledger.enter_all("row", entries)

    def _digests(self, rows: Rows, columns: tuple[str, ...]) -> list[str]:
        """A keyed digest of some cells of every row, and of which table it is."""
        if not len(rows):
            return []
        cells = [as_text(rows[name]) for name in columns]
        texts = pc.binary_join_element_wise(*cells, pa.scalar(_BETWEEN)).to_pylist()
        scope, digest = f"{self.part.path}{_BETWEEN}{_BETWEEN.join(columns)}{_BETWEEN}", self.intake.identity.digest
        return [digest(scope + text) for text in texts]

    def _numbered(self, contents: list[str]) -> list[str]:
        """Keys of rows that are known by all their cells: two rows alike are two, the second is number 1."""
        before = dict.fromkeys(contents, 0)
        unsure = set(contents)
        while unsure:
            taken = self.intake.ledger.find("row", [f"{each}-{before[each]}" for each in unsure])
            unsure = {each for each in unsure if taken.get(f"{each}-{before[each]}", ("", False))[1]}
            for each in unsure:
                before[each] += 1
        seen: Counter[str] = Counter()
        keys = []
        for each in contents:
            keys.append(f"{each}-{before[each] + seen[each]}")
            seen[each] += 1
        return keys
