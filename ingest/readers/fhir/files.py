"""FHIR files as records: chunks of lines of ndjson, entries of a bundle, or one resource; gzip bounded."""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ingest.account.quarantine import MAX_RAW_CHARACTERS, Refusal
from ingest.delivery.sources import SourceFile
from ingest.readers.fhir.values import Node, kind_of

Place = tuple[int, int]  # of a record in its file: line and entry, each from 1; 0 where it is in none
Raw = bytes | Node | None  # a line, an entry or resource, or None: beyond the bounds
LINE_SUFFIXES = {".ndjson", ".jsonl"}
CHUNK_BYTES = 2 * 1024 * 1024  # what is made of a chunk takes ten times that
MAX_LINE_BYTES = 64 * 1024 * 1024
MAX_BUNDLE_BYTES = 128 * 1024 * 1024  # a bundle is held as a whole: some ten times that
MAX_INFLATED_RATIO = 200  # ndjson shrinks to a tenth or twentieth; a bomb to a thousandth
_INFLATED_AT_LEAST = 8 * 1024 * 1024  # what inflates to less is no bomb
FULL_URL, DELETED = "_fullUrl", "_deleted"  # what a bundle says of an entry, put into its resource
EMPTY_ENTRY = "_entry"  # an entry without a resource, as one
FIRST_WORDS = (b'"Patient"', b'"Location"', b'"Medication"', b'"Binary"')
_FIRST_TYPES = {b"Patient", b"Location", b"Medication", b"Binary", b"Bundle"}
_BEGINS = re.compile(rb'\s*\{\s*"resourceType"\s*:\s*"(\w+)"')
_BOM = codecs.BOM_UTF8
_WIDE_BOMS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
              codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip


@dataclass(frozen=True)
class Chunk:
    """Some lines of a file: where they are, or what they are."""

    path: Path
    offset: int
    size: int
    first_line: int
    lines_in: int  # how many lines, blank ones too
    too_long: bool  # whether its last line is beyond the bound, and not in it
    data: bytes | None
    broken: str = ""  # what ended the file early, after these lines

    def lines(self) -> list[bytes]:
        """All lines that are not too long, blank ones too."""
        data = self.data
        if data is None:
            with self.path.open("rb") as opened:
                opened.seek(self.offset)
                data = opened.read(self.size)
        return (data.removeprefix(_BOM) if self.first_line == 1 else data).split(b"\n")

    def records(self) -> Iterator[tuple[Place, Raw]]:
        """(place, line) of every line that is not blank."""
        for number, line in enumerate(self.lines(), self.first_line):
            if line and not line.isspace():
                yield (number, 0), line
        if self.too_long:
            yield (self.first_line + self.lines_in - 1, 0), None

    @property
    def is_uniform(self) -> bool:
        """Whether every line begins as the first, with a type that is not read first. Quicker than asking each."""
        assert self.data is not None
        begins = _BEGINS.match(self.data)
        if begins is None or begins[1] in _FIRST_TYPES:
            return False
        return self.data.count(b"\n" + begins[0]) == self.lines_in - 1

    def without_data(self) -> "Chunk":
        """The same, to be read where it is used, if it lies plainly in its file."""
        return self if self.offset < 0 else Chunk(**{**self.__dict__, "data": None})


def chunks(file: SourceFile) -> Iterator[Chunk]:
    """The lines of a file, inflated where it is gzip, in chunks of about `CHUNK_BYTES`."""
    first_line = 1
    with opened(file) as stream:
        is_plain = not is_gzip(file)
        while True:
            offset = stream.tell() if is_plain else -1
            data, broken = _read(stream, CHUNK_BYTES, whole_line=True)
            too_long = bool(data) and len(data) > MAX_LINE_BYTES and not data.endswith(b"\n")
            if too_long:
                data = data[: data.rfind(b"\n") + 1]
                broken = broken or _skip_line(stream)
            count = _line_ends(data) + (too_long or not data.endswith(b"\n"))
            if data or too_long or broken:
                yield Chunk(file.path, offset, len(data), first_line, count, too_long, data, broken)
            if broken or not (data or too_long):
                return
            first_line += count


def document(file: SourceFile) -> tuple[Raw, str]:
    """(the one resource or bundle that a file is, or its bytes where it does not parse; what is wrong with it).

    A list of resources, which FHIR does not know but scripts write, is taken for a bundle of them.
    """
    with opened(file) as stream:
        raw, broken = _read(stream, MAX_BUNDLE_BYTES + 1, whole_line=False)
    if broken:
        return None, broken
    if len(raw) > MAX_BUNDLE_BYTES:
        return None, f"more than {MAX_BUNDLE_BYTES:,} bytes"
    raw = raw.removeprefix(_BOM)
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw, ""
    if type(found) is list:
        found = {"resourceType": "Bundle", "entry": [{"resource": each} for each in found]}
    return found if type(found) is dict else raw, ""


def document_records(raw: Raw) -> list[tuple[Place, Raw]]:
    """The records of a file that is one document: the entries of a bundle, or the one resource."""
    if type(raw) is dict and raw.get("resourceType") == "Bundle":
        return list(bundle_records(raw))
    return [((0, 0), raw)]


def bundle_records(bundle: Node) -> Iterator[tuple[Place, Raw]]:
    """(place, resource) of every entry, those of bundles within it counted on; `DELETED` or `EMPTY_ENTRY` of others."""
    for number, entry in enumerate(_entries(bundle), 1):
        resource = entry.get("resource") if type(entry) is dict else None
        request = entry.get("request") if type(entry) is dict else None
        if type(resource) is dict:
            if type(entry.get("fullUrl")) is str:
                resource = {**resource, FULL_URL: entry["fullUrl"]}
        elif type(request) is dict and request.get("method") == "DELETE" and type(request.get("url")) is str:
            answer = entry.get("response")
            when = answer.get("lastModified") if type(answer) is dict else None
            resource = {DELETED: request["url"], "meta": {"lastUpdated": when}}
        yield (0, number), resource if type(resource) is dict else {EMPTY_ENTRY: entry}


def _entries(bundle: Node) -> Iterator[Any]:
    """The entries of a bundle, and in the place of one that is a bundle the entries of that."""
    entries = bundle.get("entry")
    for entry in entries if type(entries) is list else []:
        resource = entry.get("resource") if type(entry) is dict else None
        if type(resource) is dict and resource.get("resourceType") == "Bundle":
            yield from _entries(resource)
        else:
            yield entry


def is_lines(file: SourceFile) -> bool:
    """Whether a file has a resource per line: its name says so, or its first line is a whole resource."""
    name = Path(file.path.name.lower().removesuffix(".gz"))
    if name.suffix in LINE_SUFFIXES:
        return True
    with opened(file) as stream:
        try:
            line = stream.readline(MAX_LINE_BYTES)
            more = stream.read(4096)
        except _INFLATE_ERRORS:
            return False
    try:
        first = orjson.loads(line.removeprefix(_BOM))
    except orjson.JSONDecodeError:
        return False
    return type(first) is dict and first.get("resourceType") != "Bundle" and bool(more.strip())


def beginning(file: SourceFile, size: int = 1 << 20) -> str:
    """The beginning of a file as text, whatever its encoding; inflated where it is gzip."""
    with opened(file) as stream:
        head, _ = _read(stream, size, whole_line=False)
    encoding = next((name for bom, name in _WIDE_BOMS.items() if head.startswith(bom)), "utf-8")
    return head.removeprefix(_BOM).decode(encoding, "replace")


def is_gzip(file: SourceFile) -> bool:
    return file.head[:2] == b"\x1f\x8b"


def opened(file: SourceFile) -> io.BufferedReader:
    """A file's content, inflated where it is gzip; then reading raises one of `_INFLATE_ERRORS` on damage or a bomb."""
    return io.BufferedReader(_Inflating(file.path), 1 << 20) if is_gzip(file) else file.path.open("rb")


class _TooMuch(Exception):  # noqa: N818 - told as what is wrong with the file
    """A gzip that inflates beyond all proportion."""


_INFLATE_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error, _TooMuch)


class _Inflating(io.RawIOBase):
    """The content of a gzip file, as far as it stays in proportion to the file."""

    def __init__(self, path: Path) -> None:
        self._packed = path.open("rb")
        self._content = gzip.GzipFile(fileobj=self._packed)
        self._bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._content.read1(len(buffer))
        self._bytes += len(piece)
        if self._bytes > max(_INFLATED_AT_LEAST, MAX_INFLATED_RATIO * self._packed.tell()):
            raise _TooMuch
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._content.close()
        self._packed.close()
        super().close()


def _line_ends(data: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord("\n")))  # twice as quick as bytes.count


def _what_broke(error: Exception) -> str:
    if isinstance(error, _TooMuch):
        return f"gzip that inflates more than {MAX_INFLATED_RATIO} times"
    return "gzip that is cut short or damaged"


def names_first(raw: bytes) -> bool:
    """Whether a line may be of a type that is read first: cheaper than parsing every line twice."""
    begins = _BEGINS.match(raw)
    if begins is not None and begins[1] not in _FIRST_TYPES:
        return False
    return any(word in raw for word in FIRST_WORDS)


def parsed(raw: Raw) -> tuple[Node, Refusal | None]:
    """(the object that a record is, or an empty one and why it is none)."""
    if type(raw) is dict:
        return raw, None
    if raw is None:
        return {}, Refusal("", f"at most {MAX_LINE_BYTES:,} bytes", "more")
    assert type(raw) is bytes
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        wide = next((name for bom, name in _WIDE_BOMS.items() if raw.startswith(bom)), "")
        got = f"{wide.upper()}" if wide else f"text that does not parse at character {error.pos + 1}"
        return {}, Refusal("", "a FHIR resource as JSON in UTF-8", got)
    if type(value) is not dict:
        return {}, Refusal("", "a FHIR resource as JSON", f"{kind_of(value)}, not an object")
    return value, None


def raw_text(raw: Raw) -> str:
    """A record for quarantine."""
    content = raw if type(raw) is bytes else b"" if raw is None else orjson.dumps(raw)
    return content[:MAX_RAW_CHARACTERS].decode("utf-8", "replace")


def _read(stream: io.BufferedReader, size: int, *, whole_line: bool) -> tuple[bytes, str]:
    """(about so many bytes, to the end of a line if asked; what is wrong with the gzip that they come from)."""
    if not isinstance(stream.raw, _Inflating):
        start = stream.tell()
        if whole_line:  # to where the line ends that is cut there
            stream.seek(start + size - 1)
            size += len(stream.readline(MAX_LINE_BYTES + 1)) - 1
            stream.seek(start)
        return stream.read(max(size, 0)), ""
    pieces = [b""]
    try:
        while size > 0 and (piece := stream.read1(size)):  # what came before the damage is kept
            pieces.append(piece)
            size -= len(piece)
        if whole_line and size <= 0 and pieces[-1][-1:] != b"\n":
            pieces.append(stream.readline(MAX_LINE_BYTES + 1))
    except _INFLATE_ERRORS as error:
        return b"".join(pieces), _what_broke(error)
    return b"".join(pieces), ""


def _skip_line(stream: io.BufferedReader) -> str:
    """Go to the next line; what is wrong with the gzip on the way."""
    while True:
        try:
            piece = stream.readline(MAX_LINE_BYTES)
        except _INFLATE_ERRORS as error:
            return _what_broke(error)
        if not piece or piece.endswith(b"\n"):
            return ""
