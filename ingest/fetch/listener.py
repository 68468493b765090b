"""Receiving DICOM: a storage provider (C-STORE, C-ECHO) that keeps what is sent as files, to be read in batches.

SOURCE: DICOM PS3.4, annex B (storage service; status codes in table B.2-1); PS3.7, sections 9.1.1 and 9.1.5.
"""

import datetime as dt
import hashlib
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.errors import InputError

if TYPE_CHECKING:
    from pynetdicom import AE
    from pynetdicom.events import Event, EventHandlerType

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND, OTHER_INSTANCE = 0x0000, 0xA700, 0xC000, 0xA900
MOST_ASSOCIATIONS = 8
MOST_INSTANCE_BYTES = 2 * 1024**3  # an instance is held in memory until it is whole
IDLE_SECONDS = 5.0  # an association may stay open for hours: after this pause its batch is read
_PDU_BYTES = 256 * 1024
_GRACE_SECONDS = 30.0
_UNSEEN = "deflated"  # a data set whose head cannot be looked at as it is


@dataclass(frozen=True)
class Listening:
    """Where the listener listens, and who may call. No `callers` (titles of application entities): anyone may."""

    host: str
    port: int
    ae_title: str
    callers: tuple[str, ...] = ()


def listen(
    incoming: Path,
    listening: Listening,
    read: Callable[[Sequence[Path]], None],
    stop: threading.Event,
    *,
    started: Callable[[int], None] = lambda port: None,
    idle_seconds: float = IDLE_SECONDS,
) -> None:
    """Receive into `incoming`/received until `stop` is set, and hand each batch to `read`, in this thread.

    A batch is what came until an association ended, or nothing came for a while. What an earlier run received and did
    not read comes first. `started` is told the port (that of the system's choice for 0). Raises InputError where the
    port cannot be had; what `read` raises ends the listening, and leaves the batch to the next run.
    """
    inbox = Inbox(incoming / "received")
    if left := inbox.unread():
        read(left)
        inbox.mark(left)
    batch = _Batch()
    with _configured_pynetdicom():
        entity = _entity(listening)
        try:
            server = entity.start_server(
                (listening.host, listening.port), block=False, evt_handlers=_handlers(inbox, batch)
            )
        except OSError as error:
            raise InputError(
                f"{listening.host}:{listening.port}", field="--listen", expected="a free port of this machine",
                got=error.strerror or type(error).__name__, hint="choose another, or see what uses it",
            ) from None  # fmt: skip
        assert server is not None, "not blocking, it gives its server"
        try:
            started(server.server_address[1])
            while not stop.wait(0.1):
                if files := batch.ready(idle_seconds):
                    read(files)
                    inbox.mark(files)
        finally:
            server.shutdown()
            _let_end(entity)
        if files := batch.ready(-1.0):
            read(files)
            inbox.mark(files)


class Inbox:
    """received/<UTC date>/<digest of the content>.dcm: the same again is the same file; other pixels are another.

    .received/<UTC date>: the digests of those that were read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._journals = folder, folder.with_name(f".{folder.name}")

    def keep(self, content: tuple[bytes, memoryview]) -> Path:
        """Write header and data set as one file, whole or not at all. Raises OSError where there is no room."""
        digest = hashlib.sha256(content[0])
        digest.update(content[1])
        path = self._folder / f"{dt.datetime.now(dt.UTC):%Y-%m-%d}" / f"{digest.hexdigest()[:40]}.dcm"
        if path.is_file():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                for piece in content:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def unread(self) -> list[Path]:
        """What was received and not read, by the journal of each day; half files of a killed run are removed."""
        found: list[Path] = []
        for day in sorted(self._folder.glob("*-*-*")):
            for part in day.glob(".*.part"):
                part.unlink(missing_ok=True)
            journal = self._journals / day.name
            done = set(journal.read_text(encoding="utf-8").split()) if journal.is_file() else set()
            found += [path for path in sorted(day.glob("[!.]*.dcm")) if path.stem not in done]
        return found

    def mark(self, files: Sequence[Path]) -> None:
        """Note that files were read. Killed before it, they are read again, which changes nothing."""
        self._journals.mkdir(parents=True, exist_ok=True)
        for day in sorted({path.parent for path in files}):
            with (self._journals / day.name).open("a", encoding="utf-8") as journal:
                journal.write("".join(f"{path.stem}\n" for path in files if path.parent == day))
                journal.flush()
                os.fsync(journal.fileno())


@dataclass
class _Batch:
    """What came and is not read yet; filled by the associations' threads, emptied by the main one."""

    _files: dict[Path, None] = field(default_factory=dict)
    _ended: bool = False
    _last: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, path: Path) -> None:
        with self._lock:
            self._files[path] = None
            self._last = time.monotonic()

    def end(self) -> None:
        """An association ended; one that sent nothing does not count."""
        with self._lock:
            self._ended = bool(self._files)

    def ready(self, idle_seconds: float) -> list[Path]:
        """The batch, where it is time to read it."""
        with self._lock:
            if not self._files or not (self._ended or time.monotonic() - self._last > idle_seconds):
                return []
            files, self._files, self._ended = list(self._files), {}, False
            return files


def _entity(listening: Listening) -> "AE":
    """All storage classes, and unknown ones, in all transfer syntaxes."""
    from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

    try:
        entity = AE(ae_title=listening.ae_title)
        if listening.callers:
            entity.require_calling_aet = list(listening.callers)
    except (TypeError, ValueError):
        raise InputError(
            "", field="--ae-title", expected="1 to 16 characters of ASCII, as for those of TELLTALE_ALLOWED_AE",
            got="something else",
        ) from None  # fmt: skip
    entity.maximum_associations = MOST_ASSOCIATIONS
    entity.maximum_pdu_size = _PDU_BYTES
    entity.acse_timeout = entity.dimse_timeout = 30
    entity.network_timeout = 60
    entity.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
    return entity


def _let_end(entity: "AE") -> None:
    """Wait for associations that are at work, for a while; cut off those that are not, or that stall."""
    until = time.monotonic() + _GRACE_SECONDS
    while any(each.is_established for each in entity.active_associations) and time.monotonic() < until:
        time.sleep(0.05)
    for each in entity.active_associations:
        if each.is_established:
            each.abort()
        elif each.dul.socket and each.dul.socket.socket is not None:
            with suppress(OSError):
                each.dul.socket.socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for the rest of a PDU
        each.join(2.0)
        if each.dul.socket and each.dul.socket.socket is not None:
            with suppress(OSError):
                each.dul.socket.socket.close()


def _handlers(inbox: Inbox, batch: _Batch) -> "list[EventHandlerType]":
    from pynetdicom import evt

    arriving: dict[int, int] = {}  # bytes since its last instance, by association

    def store(event: "Event") -> int:
        arriving.pop(id(event.assoc), None)
        status, path = _store(event, inbox)
        if path is not None:
            batch.add(path)
        return status

    def count(event: "Event") -> None:
        total = arriving[id(event.assoc)] = arriving.get(id(event.assoc), 0) + len(event.data)
        if total > MOST_INSTANCE_BYTES:
            event.assoc.abort()

    def end(event: "Event") -> None:
        arriving.pop(id(event.assoc), None)
        batch.end()

    return [
        (evt.EVT_C_ECHO, lambda event: SUCCESS),
        (evt.EVT_C_STORE, store),
        (evt.EVT_DATA_RECV, count),
        (evt.EVT_RELEASED, end),
        (evt.EVT_ABORTED, end),
        (evt.EVT_CONN_CLOSE, end),
    ]


def _store(event: "Event", inbox: Inbox) -> tuple[int, Path | None]:
    """(status, where the instance is kept). The data set stays encoded; only its first elements are looked at."""
    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.dsutils import encode_file_meta

    request = event.request
    assert isinstance(request, C_STORE), "the handler of C-STORE"
    data = request.DataSet
    if data is None or not data.getbuffer().nbytes:
        return CANNOT_UNDERSTAND, None
    syntax = event.context.transfer_syntax
    stated = _stated_instance(data, syntax)
    if stated is None:
        return CANNOT_UNDERSTAND, None
    if stated not in {_UNSEEN, str(request.AffectedSOPInstanceUID)}:
        return OTHER_INSTANCE, None
    try:
        header = b"\x00" * 128 + b"DICM" + encode_file_meta(event.file_meta)
        return SUCCESS, inbox.keep((header, data.getbuffer()))
    except OSError:
        return OUT_OF_RESOURCES, None
    except (AttributeError, TypeError, ValueError):
        return CANNOT_UNDERSTAND, None


def _stated_instance(data: BytesIO, syntax: str) -> str | None:
    """The SOP Instance UID at the head of the data set, which every stored one has; None where there is none."""
    from pydicom.filereader import read_dataset
    from pydicom.tag import BaseTag
    from pydicom.uid import UID

    uid = UID(syntax)
    if uid.is_deflated:
        return _UNSEEN
    try:
        data.seek(0)
        head = read_dataset(
            data, uid.is_implicit_VR, uid.is_little_endian, stop_when=lambda tag, vr, length: tag > 0x00080018,
            specific_tags=[BaseTag(0x00080018)],
        )  # fmt: skip
        return str(head.get("SOPInstanceUID", "")).strip(" \0") or None
    except (ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError):
        return None


@contextmanager
def _configured_pynetdicom() -> Iterator[None]:
    """Storage classes that pynetdicom does not know are taken too; nothing of what is sent, or of who, into logs."""
    from pynetdicom import _config

    logger = logging.getLogger("pynetdicom")
    before = logger.level, _config.UNRESTRICTED_STORAGE_SERVICE
    logger.setLevel(logging.CRITICAL + 1)
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    try:
        yield
    finally:
        level, _config.UNRESTRICTED_STORAGE_SERVICE = before
        logger.setLevel(level)
