"""A chunk of FHIR records to columns of facts: all that can be done without knowing who anybody is.

It needs nothing but the chunk, so that it may run in another process.
"""

import datetime as dt
import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile
from ingest.meaning.clocks import ClockWatch
from ingest.meaning.vocabulary import EMPTY, Vocabulary
from ingest.readers.fhir.columns import FACTS, FactColumns, Parts
from ingest.readers.fhir.facts import Binary, Context, Lookup, Skip, contained
from ingest.readers.fhir.files import (
    DELETED,
    EMPTY_ENTRY,
    FULL_URL,
    Chunk,
    Place,
    Raw,
    bundle_records,
    names_first,
    parsed,
)
from ingest.readers.fhir.index import NOT_STATED, ROW, Row, label
from ingest.readers.fhir.observations import modified
from ingest.readers.fhir.quick import QuickLines, read_quickly
from ingest.readers.fhir.quick_events import BY_PATIENT, EventLines, Events
from ingest.readers.fhir.resources import RESOURCES, denied
from ingest.readers.fhir.types import is_type
from ingest.readers.fhir.values import Node, branch, branches, kind_of, local_name, word
from ingest.readers.fhir.versions import STATED, WITHDRAWN, not_counted, number_of, stated_version

FIRST = ("Patient", "Location", "Medication", "Binary")  # read before all others, which refer to them
_TYPE_NAME = re.compile(r"[A-Z][A-Za-z]{2,40}")
_REFERENCE = re.compile(r"(?:^|/)([A-Z][A-Za-z]{2,40})(?:/|\?)[^/]*$")


@dataclass(frozen=True)
class Setting:
    """What is the same for all chunks of a file."""

    file: SourceFile
    source: int  # the number of the file, as the index names it
    secret: bytes  # what digests are keyed with
    scope: str  # the issuer: ids are unique within one
    zone: dt.tzinfo | None = None
    vocabulary: Vocabulary = EMPTY
    binaries: Mapping[str, Binary] = field(default_factory=dict)
    only: Collection[str] | None = None  # the records that are wanted; None: all


@dataclass
class Extracted:
    """What the records of a chunk say."""

    seen: int = 0
    filled: int = 0  # lines, or entries, that are not blank
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, ROW))  # (records that say something,), but subjects
    abouts: dict[str, int] = field(default_factory=dict)  # whom records are about, numbered: a reference, or
    # |system|value; empty: nobody
    whom: list[int] = field(default_factory=list)  # (records,) the number of each one's
    patient_fields: set[int] = field(default_factory=set)  # records that name their subject as `patient`
    facts: pa.RecordBatch = field(default_factory=lambda: pa.RecordBatch.from_pylist([], schema=FACTS))
    records: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # (rows,) the record of each fact
    lookups: list[tuple[int, str, Lookup]] = field(default_factory=list)  # row, the code's beginning, what it lacks
    problems: dict[int, Parts] = field(default_factory=dict)  # records that are wrong after all, and why
    withdrawn: list[tuple[Row, str, str]] = field(default_factory=list)  # row, reason, about
    deleted: list[tuple[Row, str]] = field(default_factory=list)  # row, reason
    late: list[tuple[Place, Node]] = field(default_factory=list)  # of the first types, met only now
    skipped: Counter[str] = field(default_factory=Counter)
    refused: list[tuple[str, Parts]] = field(default_factory=list)  # label, what is wrong
    notes: Counter[str] = field(default_factory=Counter)
    assets: dict[Path, str] = field(default_factory=dict)
    clock: ClockWatch = field(default_factory=ClockWatch)


def extract(records: Iterable[tuple[Place, Raw]], setting: Setting) -> Extracted:
    """The facts of (place, record) pairs. Every record is seen once and ends in one of the lists of `Extracted`."""
    extractor = _Extractor(setting)
    for place, raw in records:
        extractor.take(place, raw)
    return extractor.finish()


def extract_lines(chunk: Chunk, setting: Setting) -> Extracted:
    """The facts of a chunk of lines, the quickly read before the others."""
    if setting.only is not None or chunk.too_long:
        return extract(chunk.records(), setting)
    extractor, events = _Extractor(setting), EventLines()

    def otherwise(number: int, line: bytes, resource: object) -> None:
        if not events.take(number, line, resource):
            extractor.take_line(number, line, resource)

    extractor.take_quick(read_quickly(chunk.lines(), chunk.first_line, otherwise))
    found, others = events.finish()
    extractor.take_events(found)
    for number, line in others:
        extractor.take_line(number, line, orjson.loads(line))
    return extractor.finish()


class Digests:
    """Keyed digests of ids, and checksums of contents, by which resources are recognised again."""

    def __init__(self, secret: bytes, scope: str) -> None:
        self._id = hashlib.blake2b(f"{scope}|".encode("utf-8", "surrogatepass"), digest_size=8, key=secret)
        self._seed = int.from_bytes(secret[:4], "big")

    def keys(self, kind: str, identifiers: Iterable[str]) -> np.ndarray:
        """(N,) of ids of a type, within the issuer; never 0."""
        return self.keys_of(repeat(kind), identifiers)

    def keys_of(self, kinds: Iterable[str], identifiers: Iterable[str]) -> np.ndarray:
        """(N,) of ids, each of its own type."""
        begin: dict[str, Callable[[], hashlib.blake2b]] = {}
        digests = []
        for kind, identifier in zip(kinds, identifiers, strict=False):  # one kind may be repeated without end
            if kind not in begin:
                started = self._id.copy()
                started.update(f"{kind}/".encode("utf-8", "surrogatepass"))
                begin[kind] = started.copy
            digest = begin[kind]()
            digest.update(identifier.encode("utf-8", "surrogatepass"))
            digests.append(digest.digest())
        return np.asarray(np.maximum(np.frombuffer(b"".join(digests), "<u8"), 1))

    def contents(self, lines: Sequence[bytes]) -> np.ndarray:
        """(N,) checksum and length of records as they are written: enough to tell whether the one of an id changed."""
        sums = np.fromiter(map(zlib.crc32, lines, repeat(self._seed)), np.uint64, len(lines))
        return sums << np.uint64(32) | np.fromiter(map(len, lines), np.uint64, len(lines))

    def row(self, resource: Node, raw: Raw, place: Place, source: int) -> Row:
        """A resource as the index has it, but for its subject. Its key is 0 where it has no id."""
        identifier, kind = word(resource, "id"), word(resource, "resourceType")
        rank, updated, number = stated_version(resource)
        line = raw if type(raw) is bytes else b""
        if type(raw) is dict:  # out of a bundle: as it would be on a line
            line = orjson.dumps({key: value for key, value in raw.items() if key != FULL_URL})
        key = int(self.keys(kind, (identifier,))[0]) if identifier else 0
        return Row(key, zlib.crc32(line, self._seed) << 32 | len(line), updated, number, 0, *place, source, rank)


class _Extractor:
    def __init__(self, setting: Setting) -> None:
        self._setting, self._out = setting, Extracted()
        self._context = Context(setting.file, setting.zone, setting.binaries)
        self._columns = FactColumns()
        self._digests = Digests(setting.secret, setting.scope)
        self._rows: list[Row] = []
        self._quick_rows = np.zeros(0, ROW)
        self._quick_whom: list[int] = []
        self._by_patient: set[int] = set()  # of the quick ones, those that name their subject as `patient`

    def finish(self) -> Extracted:
        """All that was taken, as columns."""
        out = self._out
        out.facts, out.records, out.problems = self._columns.finish(self._context, self._setting.vocabulary)
        quick = len(self._quick_rows)
        out.whom = self._quick_whom + out.whom
        out.patient_fields = self._by_patient | {record + quick for record in out.patient_fields}
        out.notes, out.assets, out.clock = self._context.notes, self._context.assets, self._context.clock
        out.rows = np.concatenate([self._quick_rows, np.array(self._rows, ROW)])
        return out

    def take_quick(self, found: QuickLines) -> None:
        """Observations that were read quickly: they are numbered before all other records."""
        self._enter_quick(found, self._digests.keys("Observation", found.identifiers))
        self._columns.take_quick(found)

    def take_events(self, found: Events) -> None:
        """Events that were read quickly: they are numbered after those Observations, before all other records."""
        first = len(self._quick_rows)
        self._enter_quick(found, self._digests.keys_of(found.kinds, found.identifiers))
        self._by_patient.update(first + place for place, kind in enumerate(found.kinds) if kind in BY_PATIENT)
        self._columns.take_events(found)

    def _enter_quick(self, found: QuickLines | Events, keys: np.ndarray) -> None:
        """Count records that were read quickly, and enter them and whom they are about. keys (N,): of their ids."""
        out, rows = self._out, np.zeros(len(keys), ROW)
        out.seen += len(keys)
        out.filled += len(keys)
        rows["key"], rows["content"] = keys, self._digests.contents(found.lines)
        rows["line"], rows["source"], rows["rank"] = found.numbers, self._setting.source, STATED
        rows["updated"], rows["number"] = NOT_STATED, -1
        for place, (updated, number) in found.stated.items():
            rows["updated"][place], rows["number"][place] = updated, number
        self._quick_rows = np.concatenate([self._quick_rows, rows])
        for about in dict.fromkeys(found.subjects):
            out.abouts.setdefault(about, len(out.abouts))
        self._quick_whom.extend(map(out.abouts.__getitem__, found.subjects))

    def take_line(self, number: int, line: bytes, resource: object) -> None:
        """A line that was not read quickly, and what it parses to if it does."""
        if type(resource) is dict:
            self.take((number, 0), line, resource)
        elif line and not line.isspace():
            self.take((number, 0), line)

    def take(self, place: Place, raw: Raw, known: Node | None = None) -> None:
        """Any record, and what it is if that is known. A line that is a bundle is its entries."""
        self._out.filled += 1
        resource, problem = (known, None) if known is not None else parsed(raw)
        came_first = type(raw) is dict or (type(raw) is bytes and names_first(raw))
        if resource.get("resourceType") == "Bundle":
            for (_, number), inner in bundle_records(resource):
                entry, wrong = parsed(inner)
                self._one((place[0], number), entry, inner, wrong, came_first=came_first)
        else:
            self._one(place, resource, raw, problem, came_first=came_first)

    def _one(self, place: Place, resource: Node, raw: Raw, problem: Refusal | None, *, came_first: bool) -> None:
        """Count a record, and take it or tell why not."""
        if self._setting.only is not None and label(*place) not in self._setting.only:
            return
        if resource.get("resourceType") in FIRST:
            if not came_first:
                self._out.late.append((place, resource))
            return  # counted where it is taken
        self._out.seen += 1
        noted = dict(self._context.notes)
        try:
            if problem is not None:
                raise problem
            self._take(resource, raw, place)
        except Skip as skip:
            self._out.skipped[str(skip)] += 1
        except Refusal as refusal:
            self._context.notes = Counter(noted)
            self._out.refused.append((label(*place), (refusal.field, refusal.expected, refusal.got, refusal.hint)))

    def _take(self, resource: Node, raw: Raw, place: Place) -> None:
        """Add the facts of one resource. Raises Refusal or Skip, having added none."""
        if DELETED in resource:
            self._delete(resource, place)
            return
        if EMPTY_ENTRY in resource:
            raise _without_resource(resource[EMPTY_ENTRY])
        kind = word(resource, "resourceType")
        if kind not in RESOURCES:
            if not kind:
                raise Refusal("resourceType", "a resource", "none")
            raise Skip(f"FHIR type that is not read: {kind if is_type(kind) else 'unknown'}")
        row = self._digests.row(resource, raw, place, self._setting.source)
        if "modifierExtension" in resource:
            raise modified("modifierExtension")
        not_so = denied(resource)
        if verdict := (not_so, True) if not_so else not_counted(resource):
            reason, is_withdrawn = verdict
            if not is_withdrawn:
                raise Skip(reason)
            self._out.withdrawn.append((row._replace(rank=WITHDRAWN), reason, _about(resource)[0]))
            return
        about, field_name = _about(resource)
        facts = list(RESOURCES[kind](resource, self._context))
        record = len(self._rows)
        self._rows.append(row)
        self._out.whom.append(self._out.abouts.setdefault(about, len(self._out.abouts)))
        if field_name == "patient":
            self._out.patient_fields.add(record)
        for fact in facts:
            if fact.lookup is not None:
                self._out.lookups.append((len(self._columns), fact.code, fact.lookup))
            self._columns.add(record, fact)

    def _delete(self, entry: Node, place: Place) -> None:
        """An entry that deletes what its url names, as Observation/17; what was made again later stays."""
        url = word(entry, DELETED)
        kind, _, identifier = local_name(url).partition("/")
        if not (_TYPE_NAME.fullmatch(kind) and identifier):
            raise Refusal("request.url", "a type and an id, such as Observation/17", "something else")
        key = int(self._digests.keys(kind, (identifier,))[0])
        _, updated, _ = stated_version(entry)
        number = number_of(url.partition("/_history/")[2])
        row = Row(key, 0, updated, number, 0, *place, self._setting.source, WITHDRAWN)
        self._out.deleted.append((row, f"deletion of a {kind}"))


def _without_resource(entry: object) -> Skip | Refusal:
    """What an entry of a bundle is that holds no resource: a server's answer, a question to it, or a fault."""
    if type(entry) is not dict:
        return Refusal("entry", "an object with a resource", kind_of(entry))
    request = entry.get("request")
    asks = type(request) is dict and request.get("method") in ("GET", "HEAD")
    if "response" in entry or asks:
        return Skip("entry of a bundle without a resource")
    return Refusal("entry.resource", "a resource", "none")


def _about(resource: Node) -> tuple[str, str]:
    """(whom a resource is about: a reference, or |system|value; the field that says it).

    Raises Skip where it is about a group, a device or a place.
    """
    key = "subject" if "subject" in resource else "patient"
    if type(several := resource.get(key)) is list:  # of an R5 Composition
        if len(several) != 1:
            raise Refusal(key, "one subject", f"{len(several)}")
        resource = {**resource, key: several[0]}
    about = branch(resource, key)
    reference = word(about, "reference")
    found = _REFERENCE.search(reference.partition("/_history/")[0])
    kind = found[1] if found else word(about, "type")
    if kind not in ("", "Patient") and _TYPE_NAME.fullmatch(kind):
        raise Skip(f"{word(resource, 'resourceType')} about a {kind}")
    if inner := contained(resource, reference, "Patient"):
        about, reference = {"identifier": next(iter(branches(inner, "identifier")), {})}, ""
    if not reference and (identifier := branch(about, "identifier")):
        return f"|{word(identifier, 'system')}|{word(identifier, 'value')}", key
    return reference, key
