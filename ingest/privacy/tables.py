"""Tables without who their rows are about: the columns that a mapping names, and nothing else.

The subject becomes a pseudonym, times move, texts are scrubbed, numbers stay; a table comes out as CSV, with a part of
a mapping that says how it is to be read.
"""

import csv
import datetime as dt
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile, inside
from ingest.files import replacing_file
from ingest.mapping.mapping import Subject, Table, Time
from ingest.mapping.table import CodeCell, Column, UnitCell
from ingest.privacy.account import Account
from ingest.privacy.keys import ISSUER
from ingest.privacy.notes import Scrubber
from ingest.privacy.people import Pair, People
from ingest.readers.table.cells import as_text
from ingest.readers.table.files import column_names, read_rows
from ingest.readers.table.rows import Rows
from ingest.readers.table.times import Times, parse_times

FORMAT = "table"
_SUBJECT = "subject"
_NUMBER = re.compile(r"[<>=~≤≥ ]{0,3}[-+]?[\d.,' ]{1,30}(?:[eE][-+]?\d{1,3})?\s?%?")
_CODE = re.compile(r"[^@\n]{0,200}")
_DIGITS = re.compile(r"\d{6}")


def identifiers(file: SourceFile, part: Table) -> Iterator[Pair]:
    """The identifiers that a table names, to be learnt before anything is written."""
    if part.subject.column is None:
        yield part.subject.issuer, _from_name(file, part)
        return
    narrow = part.model_copy(update={"columns": (), "time": None, "available_time": None, "where": {}, "key": None})
    for rows in read_rows(file, narrow, column_names(file, part)):
        for text in set(as_text(rows[part.subject.column]).to_pylist()):
            if text:
                yield part.subject.issuer, text


@dataclass
class Tables:
    """Writes tables. `attached` gives the new path of a row's picture or recording, or None where it is not written."""

    people: People
    account: Account
    zone: dt.tzinfo | None
    attached: Callable[[Path], str | None]
    mapping: list[dict[str, Any]] = field(default_factory=list)

    def write(self, file: SourceFile, part: Table, target: Path, shown: str) -> None:
        """Write one table to `target`, which is called `shown` in the mapping. Raises Refusal or InputError."""
        names = column_names(file, part)
        if missing := [name for name in part.needed if name not in names]:
            raise Refusal(missing[0], "a column of this name, as the mapping says", "none")
        roles = _roles(part)
        assets = {f"asset_{place}": column for place, column in enumerate(part.columns) if column.asset is not None}
        written = 0
        with replacing_file(target) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow([_SUBJECT, *roles, *assets])
            for rows in read_rows(file, part, names):
                for broken in rows.broken:
                    self.account.refuse(
                        FORMAT, file, Refusal("", broken.expected, "something else"), str(broken.number)
                    )
                for cells in self._rows(file, part, rows, roles, assets):
                    writer.writerow(cells)
                    written += 1
        if not written:
            target.unlink()
            return
        self.account.write(FORMAT, written)
        self.account.dropped["column that the mapping does not name"] += len(set(names) - set(part.needed))
        self.mapping.append(_described(part, shown, assets))

    def _rows(
        self, file: SourceFile, part: Table, rows: Rows, roles: "dict[str, Time | Column | str]",
        assets: dict[str, Column],
    ) -> Iterator[list[str]]:  # fmt: skip
        texts = {name: as_text(cells).to_pylist() for name, cells in rows.cells.items()}
        times = {
            name: parse_times(rows[name], role, self.zone) for name, role in roles.items() if isinstance(role, Time)
        }
        wrong = {
            name: np.logical_or.reduce([np.zeros(len(rows), np.bool_), *(mask for mask, _ in found.problems)])
            for name, found in times.items()
        }
        named = None if part.subject.column else _from_name(file, part)
        scrubbers: dict[Pair, Scrubber] = {}
        for row in range(len(rows)):
            record = str(int(rows.numbers[row]))
            pair = (part.subject.issuer.strip(), named or texts[str(part.subject.column)][row])
            if not pair[1]:
                self.account.refuse(FORMAT, file, Refusal("subject", "an identifier", "nothing"), record)
                continue
            if bad := next((name for name in times if wrong[name][row]), None):
                self.account.refuse(FORMAT, file, Refusal(bad, "a time that can be moved", "something else"), record)
                continue
            person = self.people.person(pair)
            if pair not in scrubbers:
                scrubbers[pair] = Scrubber(person.days, self.people.known(pair), self.account.marks)
            cells = [person.pseudonym]
            for name, role in roles.items():
                if isinstance(role, Time):
                    cells.append(_moved(times[name], row, person.days, self.zone))
                else:
                    cells.append(self._cell(texts[name][row], role, scrubbers[pair], name))
            cells += [self._asset(file, column, texts, row) for column in assets.values()]
            yield cells

    def _cell(self, text: str, role: "Column | str", scrubber: Scrubber, name: str) -> str:
        if not text:
            return ""
        if role == "key":
            return self.people.keys.name("key", f"{name}\0{text}")
        if role == "number" or (isinstance(role, Column) and role.kind == "numeric"):
            allowed = () if role == "number" or isinstance(role, str) else (*role.null, *role.replace)
            if text in allowed or _NUMBER.fullmatch(text):
                return text
            self.account.dropped["cell that should be a number and is none"] += 1
            return ""
        if role == "code":
            return text if _CODE.fullmatch(text) and not _DIGITS.search(text) else scrubber.scrub(text)
        return scrubber.scrub(text)

    def _asset(self, file: SourceFile, column: Column, texts: dict[str, list[str]], row: int) -> str:
        parts = {name: texts[name][row] for name in column.placeholders}
        if not all(parts.values()):
            return ""
        try:
            found = self.attached(inside(file, str(column.asset).format_map(parts), column.title))
        except Refusal:
            found = None
        if found is None:
            self.account.dropped["attachment whose file is not written"] += 1
        return found or ""


def _roles(part: Table) -> dict[str, "Time | Column | str"]:
    """What each column of the mapping is, the subject apart: a time to be moved, a value, a code, a key, a number."""
    roles: dict[str, Time | Column | str] = {}
    times = [part.time, part.available_time, *(t for c in part.columns for t in (c.time, c.available_time))]
    for time in times:
        if time is not None and time.column is not None:
            roles.setdefault(time.column, "number" if time.unit else time)
        if time is not None and time.plus is not None and time.plus.column is not None:
            roles.setdefault(time.plus.column, "number")
    for column in part.columns:
        if column.column is not None:
            known = roles.get(column.column)
            is_text = isinstance(known, Column) and known.kind == "text"
            if known is None or (isinstance(known, Column) and column.kind == "text" and not is_text):
                roles[column.column] = column
    for column in part.columns:
        for cell in (column.code, column.unit):
            if isinstance(cell, CodeCell | UnitCell):
                roles.setdefault(cell.column, "code")
    for name in (*part.where, *(name for column in part.columns for name in column.where)):
        roles.setdefault(name, "code")
    for name in part.key if isinstance(part.key, tuple) else ():
        roles.setdefault(name, "key")
    roles.pop(str(part.subject.column), None)
    return roles


def _described(part: Table, shown: str, assets: dict[str, Column]) -> dict[str, Any]:
    """The part of a mapping that reads what was written."""
    raw = part.model_dump(mode="json", exclude_defaults=True)
    for key in ("delimiter", "encoding", "sheet", "names"):
        raw.pop(key, None)
    raw |= {"path": shown, "subject": Subject(issuer=ISSUER, column=_SUBJECT).model_dump(exclude_none=True)}
    if isinstance(raw.get("key"), list):
        raw["key"] = [_SUBJECT if name == part.subject.column else name for name in raw["key"]]
    for holder in (raw, *raw["columns"]):
        for key in ("time", "available_time"):
            if isinstance(holder.get(key), dict):
                holder[key].pop("format", None)
    for place, column in enumerate(raw["columns"]):
        if f"asset_{place}" in assets:
            column["asset"] = f"{{asset_{place}}}"
            column.setdefault("null", [])
    return raw


def _moved(times: Times, row: int, days: int, zone: dt.tzinfo | None) -> str:
    if times.missing[row]:
        return ""
    naive: dt.datetime = times.starts[row].astype("datetime64[us]").item()
    start = naive.replace(tzinfo=dt.UTC)
    try:
        if times.is_date[row]:
            return (start.astimezone(zone or dt.UTC).date() + dt.timedelta(days=days)).isoformat()
        return (start + dt.timedelta(days=days)).isoformat()
    except OverflowError:
        return ""


def _from_name(file: SourceFile, part: Table) -> str:
    found = re.fullmatch(str(part.subject.name), file.path.stem)
    if not found:
        raise Refusal("file name", f"a name that matches {part.subject.name}", "another")
    return found[min(found.re.groups, 1)].strip()
