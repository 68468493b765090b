"""What a FHIR resource says, before it is known of whom: facts, and what is needed to find them."""

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile, inside
from ingest.meaning.clocks import ClockWatch
from ingest.meaning.times import DATE_NOTE, parse_iso
from ingest.readers.fhir.values import Node, branch, branches, word

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_MAX_REMEMBERED = 100_000


class Skip(Exception):  # noqa: N818 - a verdict, not an error
    """A record that is well formed, and left out for the reason given."""


class Lookup(NamedTuple):
    """A code that only the whole delivery knows: a reference to a Location (kind place) or Medication (medicine)."""

    kind: str
    reference: str
    field: str


class Fact(NamedTuple):
    """A row of the observation table but for its subject and its source. Times are microseconds since 1970, UTC."""

    code: str
    time: int | None = None
    numeric_value: float | None = None
    text_value: str | None = None
    unit: str | None = None
    available_time: int | None = None
    asset: str | None = None
    asset_sha256: str | None = None
    lookup: Lookup | None = None  # what `code`, a prefix here, has to be completed with


class Span(NamedTuple):
    """A stated time as the span it may mean, in microseconds since 1970, UTC; `end` is later for a mere date."""

    start: int
    end: int


class Binary(NamedTuple):
    """A Binary of the delivery: itself, or where the line that it is lies."""

    resource: Node | None
    path: Path = Path()
    offset: int = 0
    size: int = 0


class Context:
    """What a resource needs beside itself: its file and the zone of its times. Also gathers what was noted."""

    def __init__(self, file: SourceFile, zone: dt.tzinfo | None, binaries: Mapping[str, Binary] | None = None) -> None:
        self.file, self.zone = file, zone
        self.binaries: Mapping[str, Binary] = {} if binaries is None else binaries
        self.notes: Counter[str] = Counter()
        self.clock = ClockWatch()
        self.assets: dict[Path, str] = {}
        self._spans: dict[str, Span] = {}

    def moment(self, text: str, field: str) -> Span:
        """A FHIR date or dateTime; dates without a time are noted. Raises Refusal."""
        span = self._spans.get(text)
        if span is None:
            parsed = parse_iso(text, field, self.zone)
            span = Span((parsed.start - _EPOCH) // _MICROSECOND, (parsed.end - _EPOCH) // _MICROSECOND)
            if len(self._spans) >= _MAX_REMEMBERED:
                self._spans.clear()
            self._spans[text] = span
        if span.end != span.start:
            self.notes[DATE_NOTE] += 1
        return span

    def known(self, moment: Span, text: str, field: str, *, ahead: bool = False) -> int:
        """When a thing of `moment` could be known, its release being stated as `text` or not at all.

        ahead: it may well have been written down before. Else that is a clock's fault: noticed, or a Refusal.
        """
        if not text:
            return moment.end
        release = self.moment(text, field).end
        if moment.start > release and not ahead:
            self.clock.add_one(moment.start, release)
        return max(moment.end, release)

    def when(
        self, resource: Node, keys: tuple[str, ...], released: str = "", *, ahead: bool = False
    ) -> tuple[int, int]:
        """(time, when it could be known) from the first of `keys` that is stated, each a dateTime or a Period.

        A period stands at its start, and is known from its release, else from its end. ahead: see `known`. Raises
        Refusal where all are absent.
        """
        release = word(resource, released) if released else ""
        for key in keys:
            stated = resource.get(key)
            if type(stated) is dict and stated:
                if not (start := word(stated, "start")):
                    raise Refusal(f"{key}.start", "a time", "none")
                moment = self.moment(start, f"{key}.start")
                if release:
                    return moment.start, self.known(moment, release, released, ahead=ahead)
                return moment.start, self.known(moment, word(stated, "end"), f"{key}.end", ahead=True)
            if text := word(resource, key):
                moment = self.moment(text, key)
                return moment.start, self.known(moment, release, released, ahead=ahead)
        raise Refusal(keys[0], "a time", "none")

    def asset(self, reference: str, field: str) -> tuple[str, str]:
        """(absolute path, SHA-256) of the image or sound that a record names. Raises Refusal."""
        from ingest.intake import check_asset

        path = inside(self.file, reference, field)
        if path not in self.assets:
            target = SourceFile(path, self.file.root)
            check_asset(target, field)
            self.assets[path] = target.sha256
        return str(path), self.assets[path]


def contained(resource: Node, reference: str, kind: str) -> Node | None:
    """The resource of a type that another carries within it, by a reference such as #med."""
    if not reference.startswith("#"):
        return None
    for inner in branches(resource, "contained"):
        if inner.get("resourceType") == kind and inner.get("id") == reference[1:]:
            return inner
    return None


def reference_of(about: Node, kind: str) -> str:
    """What a Reference to a resource of a type refers to, by its place or by its identifier; empty where by neither."""
    if reference := word(about, "reference"):
        return reference
    identifier = branch(about, "identifier")
    value = word(identifier, "value")
    return f"{kind}?identifier={word(identifier, 'system')}|{value}" if value else ""
