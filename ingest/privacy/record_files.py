"""Files of FHIR resources, read record by record and written line by line, bundles and single resources too."""

import datetime as dt
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile, inside
from ingest.files import replacing_file
from ingest.privacy.account import Account
from ingest.privacy.notes import Scrubber
from ingest.privacy.people import People
from ingest.privacy.records import Records
from ingest.readers.fhir.files import FULL_URL, chunks, document, document_records, is_lines, parsed

FORMAT = "FHIR"
Node = dict[str, Any]
Place = Callable[..., Path]


class RecordFiles:
    """Writes FHIR files. A bundle comes out as lines too: what it said of its entries goes with it."""

    def __init__(
        self, people: People, account: Account, place: Place, asset: Callable[[Path], str | None],
        text: Callable[[SourceFile, Scrubber], str | None],
    ) -> None:  # fmt: skip
        self._account, self._place, self._asset, self._text = account, place, asset, text
        self._people = people

    def write(self, file: SourceFile) -> None:
        """Write what may be written of one file; a resource that may not is refused by itself."""
        target = self._place("records", file, ".ndjson")
        changer = Records(
            self._people, lambda url, kind, scrubber: self._attached(file, url, kind, scrubber), self._account.marks,
            self._account.dropped, dt.datetime.now(dt.UTC).year,
        )  # fmt: skip
        written = 0
        with replacing_file(target) as temporary, temporary.open("wb") as stream:
            for label, raw in records(file):
                resource, refusal = parsed(raw)
                try:
                    if refusal is not None:
                        raise refusal
                    resource.pop(FULL_URL, None)
                    stream.write(orjson.dumps(changer.changed(resource), option=orjson.OPT_APPEND_NEWLINE))
                    written += 1
                except Refusal as why:
                    self._account.refuse(FORMAT, file, why, label)
                except (TypeError, ValueError, AttributeError, RecursionError) as error:
                    wrong = Refusal("", "a FHIR resource", f"elements of another kind ({type(error).__name__})")
                    self._account.refuse(FORMAT, file, wrong, label)
        self._account.write(FORMAT, written)
        if not written:
            target.unlink()

    def _attached(self, file: SourceFile, url: str, kind: str, scrubber: Scrubber) -> str | None:
        """The new path, from OUT/records, of the file that a url names; None where it is not written."""
        try:
            path = inside(file, url, "attachment.url")
        except Refusal:
            return None
        shown = self._asset(path)
        if shown is None and kind.partition(";")[0].strip().lower() in ("text/plain", "text/markdown"):
            shown = self._text(SourceFile(path, file.root, label=file.label), scrubber)
        return None if shown is None else os.path.join("..", shown)  # noqa: PTH118 - a url, not a place


def records(file: SourceFile) -> Iterator[tuple[str, Any]]:
    """(label, raw record) of every line, entry or resource."""
    if is_lines(file):
        for chunk in chunks(file):
            for (line, _), raw in chunk.records():
                yield f"line {line}", raw
            if chunk.broken:
                yield f"line {chunk.first_line + chunk.lines_in}", chunk.broken.encode()
        return
    raw, broken = document(file)
    if broken:
        yield "", None
        return
    for (_, entry), each in document_records(raw):
        yield f"entry {entry}" if entry else "", each


def patients(file: SourceFile) -> Iterator[tuple[Node, str]]:
    """(Patient, full url) of every one in a file."""
    for _, raw in records(file):
        if isinstance(raw, bytes) and b'"Patient"' not in raw:
            continue
        resource, refusal = parsed(raw)
        if refusal is None and resource.get("resourceType") == "Patient":
            url = resource.pop(FULL_URL, "")
            yield resource, url if isinstance(url, str) else ""


def learn_binaries(file: SourceFile, people: People) -> None:
    """Whose the Binary resources are that a file's records name."""
    for _, raw in records(file):
        if isinstance(raw, bytes) and b"Binary/" not in raw:
            continue
        resource, refusal = parsed(raw)
        if refusal is None:
            people.learn_attachments(resource)
