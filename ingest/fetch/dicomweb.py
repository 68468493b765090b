"""Images from a DICOMweb service: searched with QIDO-RS, retrieved with WADO-RS, kept as files.

SOURCE: DICOM PS3.18, sections 10.6 (search) and 10.4 (retrieve).
"""

import difflib
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from ingest.errors import Complaint, InputError
from ingest.fetch.multipart import BrokenPartError, copy_first_part
from ingest.fetch.web import WebServer
from ingest.files import replacing_file

CREDENTIALS = ("TELLTALE_DICOMWEB_USER", "TELLTALE_DICOMWEB_PASSWORD", "TELLTALE_DICOMWEB_TOKEN")
PAGE = 200
MOST_INSTANCE_BYTES = 8 * 1024**3
_MOST_PAGE_BYTES = 64 * 1024**2
_THREADS = 4
_PREAMBLE_BYTES = 128
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_JSON = "application/dicom+json"
_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'  # as the server keeps it
# Keys of PS3.18, tables 10.6.1-3 and -5, that tell series and instances apart; every other is a study's.
_SERIES_KEYS = frozenset({
    "Modality", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "BodyPartExamined", "ProtocolName",
    "Laterality", "SeriesDate", "SeriesTime", "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime",
    "RequestAttributesSequence", "Manufacturer", "ManufacturerModelName", "StationName", "InstitutionName",
})  # fmt: skip
_INSTANCE_KEYS = frozenset({
    "SOPClassUID", "SOPInstanceUID", "InstanceNumber", "Rows", "Columns", "BitsAllocated", "NumberOfFrames",
    "ImageType", "ViewPosition", "AcquisitionDate", "AcquisitionTime", "ContentDate", "ContentTime",
})  # fmt: skip
_FATAL = ("401", "403", "407", "429", "502", "503", "504")  # the server, not the one instance

Progress = Callable[[int, int, str], None]  # (instances done, instances found so far, what is going on)


@dataclass(frozen=True)
class Fetched:
    """What a search found: `found` = `fetched` + `there` (from an earlier run) + the refused."""

    folder: Path
    found: int
    fetched: int
    there: int
    refused: tuple[Complaint, ...]
    warnings: tuple[str, ...]  # of the server, such as a filter that it does not know


def fetch_images(
    url: str,
    query: Sequence[str],
    incoming: Path,
    *,
    credentials: Mapping[str, str] | None = None,
    progress: Progress = lambda done, found, detail: None,
) -> Fetched:
    """Retrieve all instances that fit the query (Key=Value, as PS3.18 has it) and are not there yet.

    They go to `incoming`/dicomweb-<digest of url and query>/<digest>/<digest>.dcm: no name comes from the server.
    An instance that cannot be had is told in `refused`, and tried again the next time. Raises InputError where the
    search itself fails, where nothing fits, or where the server stops to answer; what came by then is kept.
    """
    server = WebServer(url, credentials, connections=_THREADS)
    filters = _Filters(query)
    identity = "\n".join([server.url, *sorted(query)])
    fetching = _Fetching(server, incoming / f"dicomweb-{_digest(identity)}", progress)
    search = _Search(server, filters)
    try:
        fetching.all(search)
    except OSError as error:
        raise InputError(
            str(fetching.folder), expected="room to write", got=str(error.strerror),
            hint="make room, and run it again: what came is kept",
        ) from None  # fmt: skip
    if not fetching.found and not search.refused:
        raise InputError(
            server.url, field="--query", expected="an instance that fits", got="none", hint="ask for less, or for more"
        )
    return Fetched(
        fetching.folder, fetching.found + len(search.refused), fetching.fetched, fetching.there,
        tuple(search.refused + fetching.refused), tuple(sorted(search.warnings)),
    )  # fmt: skip


class _Filters:
    """The query's keys, checked, by the level that they belong to."""

    def __init__(self, query: Sequence[str]) -> None:
        self.study: list[tuple[str, str]] = []
        self.series: list[tuple[str, str]] = []
        self.instance: list[tuple[str, str]] = []
        for text in query:
            key, equals, value = text.partition("=")
            if not equals or not value:
                raise InputError("", field="--query", expected="Key=Value, such as Modality=CT", got=repr(key))
            keyword = _keyword(key.strip())
            first = keyword.partition(".")[0]
            pair = (keyword, value.strip())
            if first in _SERIES_KEYS:
                self.series.append(pair)
                if first == "Modality":
                    self.study.append(("ModalitiesInStudy", pair[1]))
            elif first in _INSTANCE_KEYS:
                self.instance.append(pair)
            else:
                self.study.append(pair)


def _keyword(key: str) -> str:
    """A key as keywords joined by dots; tags of eight digits become keywords. Refuses what is in no dictionary."""
    from pydicom._dicom_dict import DicomDictionary
    from pydicom.datadict import keyword_for_tag, tag_for_keyword

    words = []
    for part in key.split("."):
        word = keyword_for_tag(int(part, 16)) if re.fullmatch(r"[0-9A-Fa-f]{8}", part) else part
        if not word or tag_for_keyword(word) is None:
            known = [entry[4] for entry in DicomDictionary.values()]
            near = ", ".join(difflib.get_close_matches(part, known, 3, 0.6))
            raise InputError(
                "", field="--query", expected="a keyword or a tag of the DICOM dictionary", got=repr(part),
                hint=f"the nearest are {near}" if near else "such as Modality or 00080060",
            )  # fmt: skip
        words.append(word)
    return ".".join(words)


class _Search:
    """Studies, their series, their instances, page by page; `refused` are those whose UIDs are none."""

    def __init__(self, server: WebServer, filters: _Filters) -> None:
        self._server, self._filters = server, filters
        self.refused: list[Complaint] = []
        self.warnings: set[str] = set()
        self._strange: set[tuple[str, str]] = set()

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        """(study, series, instance) UIDs."""
        for study in self._uids("studies", self._filters.study, _STUDY):
            below = f"studies/{study}/series"
            for series in self._uids(below, self._filters.series, _SERIES):
                for instance in self._uids(f"{below}/{series}/instances", self._filters.instance, _INSTANCE):
                    yield study, series, instance

    def _uids(self, path: str, filters: list[tuple[str, str]], tag: str) -> Iterator[str]:
        """The UIDs of all pages. A server that forgets the offset is left as soon as it says nothing new."""
        seen: set[str] = set()
        offset = 0
        while True:
            page = self._page(path, [*filters, ("limit", str(PAGE)), ("offset", str(offset))])
            new = [uid for uid in dict.fromkeys(self._uid(entry, tag, path) for entry in page) if uid]
            new = [uid for uid in new if uid not in seen]
            seen.update(new)
            yield from new
            offset += len(page)
            if not new or len(page) > PAGE:
                return

    def _page(self, path: str, query: list[tuple[str, str]]) -> list[Any]:
        content, warning = self._server.get(path, query, _JSON, _MOST_PAGE_BYTES)
        if warning.startswith("299"):
            self.warnings.add(re.sub(r"[^\w .,:;=()/-]", "", warning.split('"')[1] if '"' in warning else "")[:200])
        if not content.strip():
            return []
        try:
            entries = orjson.loads(content)
        except orjson.JSONDecodeError:
            raise self._server.problem(path, "DICOM JSON", "something else", "is this a DICOMweb service?") from None
        if type(entries) is not list:
            raise self._server.problem(path, "a list of DICOM JSON objects", "something else")
        return entries

    def _uid(self, entry: object, tag: str, path: str) -> str:
        """The entry's UID; empty, and refused, where it is no UID: it would become part of an address."""
        values = entry.get(tag, {}) if type(entry) is dict else {}
        listed = values.get("Value", []) if type(values) is dict else []
        uid = listed[0] if type(listed) is list and listed else None
        if type(uid) is str and len(uid) <= 64 and _UID.fullmatch(uid):
            return uid
        if (strange := (path, str(uid)[:100])) not in self._strange:  # once, also where a page comes again
            self._strange.add(strange)
            self.refused.append(
                Complaint(self._server.url, path, f"({tag[:4]},{tag[4:]})", "a UID", "something else", "ask its maker")
            )
        return ""


@dataclass
class _Fetching:
    """The retrieval of what a search finds, by a few threads at once."""

    server: WebServer
    folder: Path
    progress: Progress
    found: int = 0
    fetched: int = 0
    there: int = 0
    refused: list[Complaint] = field(default_factory=list)

    def all(self, search: _Search) -> None:
        """Retrieve as the search goes on; never more than some hundred requests wait."""
        running: set[Future[Complaint | None]] = set()
        with ThreadPoolExecutor(_THREADS) as pool:
            try:
                for study, series, instance in search:
                    self.found += 1
                    path = self.folder / _digest(series) / f"{_digest(instance)}.dcm"
                    if path.is_file():
                        self.there += 1
                    else:
                        running.add(pool.submit(self._one, study, series, instance, path))
                    if len(running) >= 100:
                        running = self._collect(running, enough=50)
                self._collect(running, enough=0)
            except BaseException:
                for each in running:
                    each.cancel()
                raise

    def _collect(self, running: set[Future[Complaint | None]], enough: int) -> set[Future[Complaint | None]]:
        """Count what is done, until no more than `enough` are still running."""
        while len(running) > enough:
            done, running = wait(running, timeout=0.5, return_when="FIRST_COMPLETED")
            for each in done:
                complaint = each.result()
                if complaint is None:
                    self.fetched += 1
                else:
                    self.refused.append(complaint)
            self.progress(self.fetched + self.there + len(self.refused), self.found, "images from DICOMweb")
        return running

    def _one(self, study: str, series: str, instance: str, path: Path) -> Complaint | None:
        """Retrieve one instance; or what is wrong with it alone. Raises InputError where the server is gone."""
        address = f"studies/{study}/series/{series}/instances/{instance}"
        try:
            with self.server.stream(address, _STORED) as answer, replacing_file(path) as temporary:
                kind = answer.headers.get("Content-Type", "")
                with temporary.open("wb") as target:
                    copy_first_part(kind, answer.read, target, MOST_INSTANCE_BYTES)
                answer.read(1 << 16)  # the closing boundary's rest, so that the connection can serve again
                _check_magic(temporary)
        except BrokenPartError as broken:
            return Complaint(self.server.url, f"instance {instance}", "", "a DICOM file", str(broken), "run it again")
        except InputError as error:
            said = error.complaint
            if not said.got[:3].isdigit() or said.got.startswith(_FATAL):
                raise
            return Complaint(self.server.url, f"instance {instance}", "", "a DICOM file", said.got, "run it again")
        return None


def _check_magic(path: Path) -> None:
    with path.open("rb") as file:
        file.seek(_PREAMBLE_BYTES)
        if file.read(4) != b"DICM":
            raise BrokenPartError("a part that is no DICOM file")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
