"""FHIR files as records, one at a time: lines of ndjson, entries of a bundle, or one resource."""

from collections.abc import Iterator

import orjson

from ingest.quarantine import Refusal
from ingest.readers.fhir_values import Node
from ingest.sources import SourceFile

LINE_SUFFIXES = {".ndjson", ".jsonl"}
MAX_LINE_BYTES = 64 * 1024 * 1024
MAX_BUNDLE_BYTES = 512 * 1024 * 1024


def records(file: SourceFile) -> Iterator[tuple[str, bytes | Node | None]]:
    """(label, record) of every record; None for one that is beyond the bounds."""
    if file.path.suffix.lower() in LINE_SUFFIXES or not _is_one_document(file):
        yield from _lines(file)
        return
    if file.path.stat().st_size > MAX_BUNDLE_BYTES:
        yield "bundle", None
        return
    raw = file.path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        yield "resource", raw
        return
    if not isinstance(document, dict) or document.get("resourceType") != "Bundle":
        yield "resource", document if isinstance(document, dict) else raw
        return
    entries = document.get("entry")
    for number, entry in enumerate(entries if isinstance(entries, list) else [], 1):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(resource, dict) and isinstance(entry.get("fullUrl"), str):
            resource = {**resource, "_fullUrl": entry["fullUrl"]}
        yield f"entry {number}", resource if isinstance(resource, dict) else orjson.dumps(entry)


def _is_one_document(file: SourceFile) -> bool:
    """Whether a JSON file is one document rather than one per line: its first line is not a whole resource."""
    with file.path.open("rb") as opened:
        line = opened.readline(MAX_LINE_BYTES).removeprefix(b"\xef\xbb\xbf")
    try:
        first = orjson.loads(line)
    except orjson.JSONDecodeError:
        return True
    return isinstance(first, dict) and first.get("resourceType") == "Bundle"


def _lines(file: SourceFile) -> Iterator[tuple[str, bytes | None]]:
    """Lines that are not blank, by their number; one that is too long comes as None."""
    with file.path.open("rb") as opened:
        number = 0
        while line := opened.readline(MAX_LINE_BYTES + 1):
            number += 1
            whole = True
            while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                whole = False
                line = opened.readline(MAX_LINE_BYTES + 1)
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not whole:
                yield f"line {number}", None
            elif line.strip():
                yield f"line {number}", line


def parsed(raw: bytes | Node | None) -> tuple[Node, Refusal | None]:
    if isinstance(raw, dict):
        return raw, None
    if raw is None:
        return {}, Refusal("", f"at most {MAX_LINE_BYTES:,} bytes", "more")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return {}, Refusal("", "a FHIR resource as JSON", f"text that does not parse at character {error.pos + 1}")
    if not isinstance(value, dict):
        return {}, Refusal("", "a FHIR resource as JSON", "JSON that is not an object")
    return value, None
