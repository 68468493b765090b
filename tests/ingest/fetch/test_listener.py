"""Receiving by C-STORE: from pynetdicom, dcmtk and Orthanc, and from those who send what they should not."""

import contextlib
import gc
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    DigitalXRayImageStorageForPresentation,
    Verification,
)

from ingest.errors import InputError
from ingest.fetch.listener import Inbox, Listening, listen
from ingest.run import ingest
from ingest.workspace import Workspace

ROOT = Path(__file__).parents[3]
PLAIN = (ExplicitVRLittleEndian,)
HALF_A_PDU = b"\x01\x00\xff\xff\xff\xff" + b"x" * 100
NO_ASSOCIATION = b"\x04\x00\x00\x00\x00\x04\x00\x00\x00\x00"


@dataclass
class Running:
    """A listener in a thread, and what it has given to be read."""

    incoming: Path
    port: int = 0
    batches: list[list[Path]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def files(self) -> list[Path]:
        return [path for batch in self.batches for path in batch]

    def wait_for(self, n: int, seconds: float = 10.0) -> list[Path]:
        until = time.monotonic() + seconds
        while len(self.files) < n and time.monotonic() < until:
            time.sleep(0.02)
        assert len(self.files) == n
        return self.files


@contextlib.contextmanager
def listening(incoming: Path, **options: Any) -> Iterator[Running]:
    running, started = Running(incoming), threading.Event()

    def on_start(port: int) -> None:
        running.port = port
        started.set()

    where = Listening("127.0.0.1", 0, "TELLTALE", options.pop("callers", ()))

    def read(files: Sequence[Path]) -> None:
        running.batches.append(list(files))

    def run() -> None:
        try:
            listen(incoming, where, read, running.stop, started=on_start, **options)
        finally:
            running.ended.set()

    threading.Thread(target=run).start()
    try:
        assert started.wait(10)
        yield running
    finally:
        running.stop.set()
        assert running.ended.wait(30)


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """pynetdicom leaves the socket of a peer that went away early to the collector: no other test is to blame."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@contextlib.contextmanager
def calling(port: int, title: str = "SENDER", syntaxes: Sequence[str] = PLAIN) -> Iterator[Association]:
    entity = AE(ae_title=title)
    entity.add_requested_context(DigitalXRayImageStorageForPresentation, list(syntaxes))
    entity.add_requested_context("1.2.3.4.5.6.7", list(syntaxes))  # somebody's private storage class
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", port)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        elif association.dul.socket:
            association.dul.socket.close()  # one that was cut off leaves it open


@pytest.fixture
def images(tmp_path: Path, write_dicom: Callable[..., Path]) -> list[Path]:
    import numpy as np

    return [write_dicom(tmp_path / "scanner" / f"{i}.dcm", np.full((4, 4), i, np.uint16)) for i in range(4)]


def test_what_is_sent_is_kept_as_it_was_encoded_and_read_in_one_batch(workspace: Workspace, images: list[Path]) -> None:
    with listening(workspace.incoming) as running:
        with calling(running.port) as association:
            assert association.send_c_echo().Status == 0x0000
            assert [association.send_c_store(dcmread(path)).Status for path in images] == [0, 0, 0, 0]
            kept = list((workspace.incoming / "received").rglob("[!.]*.dcm"))
            assert len(kept) == 4, "on disk before the answer"
            assert running.batches == [], "the association is still open"
        files = running.wait_for(4)
        assert len(running.batches) == 1
    for path, file in zip(images, files, strict=True):
        sent, got = dcmread(path), dcmread(file)
        assert got.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert got == sent
        assert str(sent.SOPInstanceUID) not in str(file)
    account = ingest(workspace, files)
    assert (account.total.seen, account.total.used) == (4, 4)


def test_compressed_pixels_stay_compressed(workspace: Workspace, images: list[Path]) -> None:
    from pydicom.encaps import encapsulate

    sent = dcmread(images[0])
    sent.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    sent.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    sent["PixelData"].VR = "OB"
    sent["PixelData"].is_undefined_length = True
    with listening(workspace.incoming) as running:
        with calling(running.port, syntaxes=[JPEGBaseline8Bit]) as association:
            assert association.send_c_store(sent).Status == 0x0000
        (file,) = running.wait_for(1)
    assert dcmread(file).file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert dcmread(file).PixelData == sent.PixelData


def test_an_association_that_stays_open_is_read_after_a_pause(workspace: Workspace, images: list[Path]) -> None:
    with listening(workspace.incoming, idle_seconds=0.3) as running, calling(running.port) as association:
        association.send_c_store(dcmread(images[0]))
        running.wait_for(1)
        association.send_c_store(dcmread(images[1]))
        running.wait_for(2)
        assert association.is_established


def test_the_same_again_is_one_file_and_other_pixels_are_another(workspace: Workspace, images: list[Path]) -> None:
    """FAULTS 4: both are kept, for the reader to judge."""
    first, second = dcmread(images[0]), dcmread(images[1])
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    with listening(workspace.incoming) as running:
        with calling(running.port) as association:
            for each in (first, first, second):
                assert association.send_c_store(each).Status == 0x0000
        files = running.wait_for(2)
    assert ingest(workspace, files).total.refused > 0


def test_a_uid_that_is_a_path_stays_inside(workspace: Workspace, images: list[Path]) -> None:
    """FAULTS 27, over C-STORE (pynetdicom#823): no name comes from what is sent; the reader refuses the instance."""
    hostile = dcmread(images[0])
    hostile.SOPInstanceUID = hostile.file_meta.MediaStorageSOPInstanceUID = "../../../../x"
    hostile.StudyInstanceUID = hostile.SeriesInstanceUID = "1.2"
    before = set(workspace.root.parent.rglob("*"))
    with listening(workspace.incoming) as running, calling(running.port, title="../../x") as association:
        association.send_c_store(hostile)
    new = set(workspace.root.parent.rglob("*")) - before
    assert all(path.is_relative_to(workspace.incoming) for path in new)
    if running.files:
        account = ingest(workspace, running.files)
        assert (account.total.used, account.total.refused) == (0, 1)


@pytest.mark.parametrize(
    "data", [b"\x00" * 3, b"no data set at all, but words of somebody", b"\x08\x00\x18\x00UI\xff\xff"]
)
def test_what_is_no_data_set_is_answered_so_and_not_kept(workspace: Workspace, images: list[Path], data: bytes) -> None:
    with listening(workspace.incoming) as running:
        with calling(running.port) as association:
            assert send_bytes(association, data, "1.2.3") == 0xC000
            assert association.send_c_store(dcmread(images[0])).Status == 0x0000, "the association lives on"
        running.wait_for(1)


def test_an_instance_under_anothers_uid_is_answered_so(workspace: Workspace, images: list[Path]) -> None:
    data = images[0].read_bytes()
    data = data[data.index(b"\x08\x00\x16\x00UI") :]
    with listening(workspace.incoming) as running, calling(running.port) as association:
        assert send_bytes(association, data, "1.2.3") == 0xA900
    assert running.files == []


def send_bytes(association: Association, data: bytes, instance: str) -> int:
    """A C-STORE of just these bytes; the status of the answer."""
    from pynetdicom.dimse_primitives import C_STORE

    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = DigitalXRayImageStorageForPresentation, instance
    request.DataSet = io.BytesIO(data)
    context = next(
        c for c in association.accepted_contexts if c.abstract_syntax == DigitalXRayImageStorageForPresentation
    )
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return int(answer.Status)


def test_a_storage_class_of_somebodys_own_is_taken(workspace: Workspace, images: list[Path]) -> None:
    private = dcmread(images[0])
    private.SOPClassUID = private.file_meta.MediaStorageSOPClassUID = "1.2.3.4.5.6.7"
    with listening(workspace.incoming) as running:
        with calling(running.port) as association:
            assert association.send_c_store(private).Status == 0x0000
        running.wait_for(1)


def test_only_those_who_may_call_are_let_in(workspace: Workspace) -> None:
    with listening(workspace.incoming, callers=("CT1", "MR1")) as running:
        with calling(running.port, title="STRANGER") as association:
            assert association.is_rejected
        with calling(running.port, title="MR1") as association:
            assert association.is_established


def test_a_stranger_who_speaks_no_dicom_does_no_harm(workspace: Workspace, images: list[Path]) -> None:
    import socket

    with listening(workspace.incoming) as running:
        for words in (b"GET / HTTP/1.1\r\n\r\n", HALF_A_PDU, NO_ASSOCIATION):
            with socket.create_connection(("127.0.0.1", running.port)) as stranger:
                stranger.sendall(words)
        with calling(running.port) as association:
            assert association.send_c_store(dcmread(images[0])).Status == 0x0000
        running.wait_for(1)


def test_a_stranger_who_stalls_holds_up_nobody(workspace: Workspace, images: list[Path]) -> None:
    import socket

    with contextlib.ExitStack() as strangers:
        running = strangers.enter_context(listening(workspace.incoming))
        for words in (b"", HALF_A_PDU):
            stranger = strangers.enter_context(socket.create_connection(("127.0.0.1", running.port)))
            stranger.sendall(words)
        with calling(running.port) as association:
            assert association.send_c_store(dcmread(images[0])).Status == 0x0000
        running.wait_for(1)
        running.stop.set()
        assert running.ended.wait(10)


def test_an_instance_beyond_the_limit_ends_its_association(
    workspace: Workspace, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.fetch.listener.MOST_INSTANCE_BYTES", 100_000)
    big = dcmread(images[0])
    big.Rows = big.Columns = 1000
    big.PixelData = bytes(2_000_000)
    with listening(workspace.incoming) as running:
        with calling(running.port) as association, contextlib.suppress(RuntimeError):
            assert "Status" not in association.send_c_store(big)
        with calling(running.port) as association:
            assert association.send_c_store(dcmread(images[0])).Status == 0x0000
        running.wait_for(1)


def test_a_full_disk_is_answered_with_out_of_resources(workspace: Workspace, images: list[Path]) -> None:
    """FAULTS 40: a limit on the size of files stands for the full disk; what was kept before stays whole."""
    big = dcmread(images[0])
    big.Rows = big.Columns = 400
    big.PixelData = bytes(320_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with listening(workspace.incoming) as running:
        with calling(running.port) as association:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
            try:
                assert association.send_c_store(big).Status == 0xA700
                assert association.send_c_store(dcmread(images[1])).Status == 0x0000
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
        (kept,) = running.wait_for(1)
    assert dcmread(kept) == dcmread(images[1])
    assert not list(workspace.incoming.rglob("*.part"))


def test_a_port_that_is_taken_is_one_error(workspace: Workspace) -> None:
    with listening(workspace.incoming) as running, pytest.raises(InputError, match="expected a free port"):
        listen(workspace.incoming, Listening("127.0.0.1", running.port, "X"), lambda files: None, threading.Event())


@pytest.mark.parametrize("title", ["", "x" * 17, "\\", "é"])
def test_a_title_that_is_none_is_one_error(workspace: Workspace, title: str) -> None:
    with pytest.raises(InputError, match="--ae-title"):
        listen(workspace.incoming, Listening("127.0.0.1", 0, title), lambda files: None, threading.Event())


def test_what_was_received_and_not_read_comes_first_and_half_files_go(workspace: Workspace, images: list[Path]) -> None:
    inbox = Inbox(workspace.incoming / "received")
    content = images[0].read_bytes()
    kept = inbox.keep((content[:132], memoryview(content[132:])))
    half = kept.with_name(".x.part")
    half.write_bytes(content[:200])
    stop = threading.Event()
    stop.set()
    batches: list[list[Path]] = []
    for _ in range(2):
        listen(workspace.incoming, Listening("127.0.0.1", 0, "X"), lambda files: batches.append(list(files)), stop)
    assert batches == [[kept]], "read once, and not again at the next start"
    assert not half.exists()


def start(workspace: Path, port: int, **environment: str) -> "subprocess.Popen[str]":
    words = [sys.executable, "-m", "serve.cli", "ingest", "--listen", str(port), "--workspace", str(workspace)]
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    assert process.stdout is not None
    assert "listening as TELLTALE" in _until(process, "listening as")
    return process


def _until(process: "subprocess.Popen[str]", words: str) -> str:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError((said, process.stderr.read() if process.stderr else ""))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the sender's socket, cut off
def test_killed_in_the_middle_it_leaves_no_half_file_and_the_next_start_reads_the_rest(
    tmp_path: Path, images: list[Path], servers: ModuleType
) -> None:
    """FAULTS 39: kill -9 while an association sends."""
    workspace, port = tmp_path / "ws", servers.free_port()
    process = start(workspace, port)
    taken = 0
    with contextlib.suppress(RuntimeError), calling(port) as association:
        for i, path in enumerate(images * 50):
            dataset = dcmread(path)
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{i}"
            if i == 120:
                process.send_signal(signal.SIGKILL)
            if association.send_c_store(dataset).get("Status") != 0:
                break
            taken += 1
    process.wait(30)
    process.communicate()
    files = list((workspace / "incoming" / "received").rglob("[!.]*.dcm"))
    assert len(files) >= taken >= 100, "what was answered with success is on disk"
    for path in files:
        assert len(dcmread(path).PixelData) == 32
    again = start(workspace, port)
    again.send_signal(signal.SIGTERM)
    _, complaints = again.communicate(timeout=60)
    assert again.returncode == 0, complaints
    from ingest.store import read_observations
    from ingest.workspace import open_workspace

    assert len(read_observations(open_workspace(workspace))) == len(files)
    assert not list((workspace / "incoming").rglob("*.part"))
    gc.collect()  # while the filter holds


@pytest.mark.slow
def test_storescu_of_dcmtk_sends_and_sigint_ends_it_with_the_account(
    tmp_path: Path, images: list[Path], servers: ModuleType
) -> None:
    program = shutil.which("storescu")
    if program is None:
        pytest.skip("storescu of dcmtk: not installed here")
    port = servers.free_port()
    process = start(tmp_path / "ws", port, TELLTALE_ALLOWED_AE="DCMTK, OTHER")
    refused = subprocess.run(
        [program, "-aet", "STRANGER", "127.0.0.1", str(port), images[0]], check=False, capture_output=True
    )
    assert refused.returncode != 0
    subprocess.run([program, "-aet", "DCMTK", "127.0.0.1", str(port), *images], check=True, capture_output=True)
    said = _until(process, "in 4 =")
    assert "received 4 instances" in said
    assert "in 4 = used 4 + refused 0 + skipped 0" in said
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (0, "")


@pytest.mark.slow
@pytest.mark.servers
def test_orthanc_sends_to_it(tmp_path: Path, images: list[Path], servers: ModuleType, workspace: Workspace) -> None:
    with listening(workspace.incoming) as running:
        with servers.orthanc(tmp_path / "orthanc", modalities={"telltale": ("TELLTALE", running.port)}) as pacs:
            pacs.add(*images)
            for each in json.loads(pacs.ask("/instances")):
                pacs.ask("/modalities/telltale/store", each.encode())
        files = running.wait_for(4)
    account = ingest(workspace, files)
    assert (account.total.seen, account.total.used) == (4, 4)
    kept = {dcmread(path).SOPInstanceUID for path in files}
    assert kept == {dcmread(path).SOPInstanceUID for path in images}
