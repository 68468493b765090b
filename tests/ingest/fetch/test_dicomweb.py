"""Fetching over DICOMweb, from a real Orthanc and from small servers that misbehave."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ingest.errors import InputError
from ingest.fetch.dicomweb import Fetched, fetch_images
from ingest.run import ingest
from ingest.workspace import Workspace

UID = "1.2.826.0.1.3680043.8.498"
TOKEN = {"TELLTALE_DICOMWEB_TOKEN": "s3cret"}
ADDRESSES = [
    "ftp://x/y",
    "file:///etc/passwd",
    "pacs",
    "http://u:s3cret@x/y",
    "http://x:99999/",
    "http://x/?z=1",
    "//x",
]


def uid(*parts: int) -> str:
    return ".".join([UID, *map(str, parts)])


@pytest.fixture
def series(tmp_path: Path, write_dicom: Callable[..., Path]) -> Callable[..., list[Path]]:
    """Instances of one series, each with pixels of its own."""

    def make(study: int, number: int, n: int, **changes: Any) -> list[Path]:
        import numpy as np

        return [
            write_dicom(
                tmp_path / "pacs" / f"{study}-{number}-{i}.dcm",
                np.full((4, 4), 100 * study + 10 * number + i, np.uint16),
                StudyInstanceUID=uid(study), SeriesInstanceUID=uid(study, number), SOPInstanceUID=uid(study, number, i),
                **changes,
            )
            for i in range(n)
        ]  # fmt: skip

    return make


class Pacs:
    """A DICOMweb service of some instances. `answers` overrides paths: (status, headers, body)."""

    def __init__(self, files: dict[tuple[str, str, str], bytes]) -> None:
        self.files = files
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.most = 10_000  # entries of a page, whatever is asked
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicom-web"

    def answer(self, target: str) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(target)
        path = parts.path.removeprefix("/dicom-web/")
        if path in self.answers:
            return self.answers[path]
        words = path.split("/")
        if len(words) == 6:
            content = self.files[words[1], words[3], words[5]]
            kind = 'multipart/related; type="application/dicom"; boundary="xyz"'
            return (
                200,
                {"Content-Type": kind},
                b"--xyz\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--xyz--\r\n",
            )
        level, tag = {1: (0, "0020000D"), 3: (1, "0020000E"), 5: (2, "00080018")}[len(words)]
        found = {key[level] for key in self.files if all(key[i] == words[2 * i + 1] for i in range(level))}
        query = parse_qs(parts.query)
        first, most = int(query["offset"][0]), min(int(query["limit"][0]), self.most)
        entries = [{tag: {"vr": "UI", "Value": [each]}} for each in sorted(found)[first : first + most]]
        return 200, {"Content-Type": "application/dicom+json"}, json.dumps(entries).encode()


@contextmanager
def serving(pacs: Pacs) -> Iterator[Pacs]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            pacs.asked.append(self.path)
            pacs.headers.append(dict(self.headers))
            status, headers, body = pacs.answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        pacs.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield pacs
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def pacs(series: Callable[..., list[Path]]) -> Iterator[Pacs]:
    files = {}
    for number, n in ((1, 3), (2, 2)):
        for i, path in enumerate(series(1, number, n)):
            files[uid(1), uid(1, number), uid(1, number, i)] = path.read_bytes()
    with serving(Pacs(files)) as running:
        yield running


def test_all_instances_come_as_they_were_stored_and_a_second_time_none(pacs: Pacs, workspace: Workspace) -> None:
    fetched = fetch_images(pacs.url, ["PatientID=1"], workspace.incoming)
    assert (fetched.found, fetched.fetched, fetched.there, fetched.refused) == (5, 5, 0, ())
    files = [path for path in fetched.folder.rglob("*") if path.is_file()]
    assert sorted(path.read_bytes() for path in files) == sorted(pacs.files.values())
    assert not any(UID in str(path) for path in files)
    asked = len(pacs.asked)
    again = fetch_images(pacs.url, ["PatientID=1"], workspace.incoming)
    assert (again.found, again.fetched, again.there) == (5, 0, 5)
    assert again.folder == fetched.folder
    assert not any("/instances/" in path for path in pacs.asked[asked:])


def test_what_is_missing_only_is_fetched_again(pacs: Pacs, workspace: Workspace) -> None:
    fetched = fetch_images(pacs.url, [], workspace.incoming)
    next(iter(sorted(fetched.folder.rglob("*.dcm")))).unlink()
    assert fetch_images(pacs.url, [], workspace.incoming).fetched == 1


def test_a_server_that_gives_fewer_than_asked_is_asked_for_the_rest(pacs: Pacs, workspace: Workspace) -> None:
    pacs.most = 1
    assert fetch_images(pacs.url, [], workspace.incoming).fetched == 5


def test_a_server_that_forgets_the_offset_does_not_keep_us_for_ever(pacs: Pacs, workspace: Workspace) -> None:
    pacs.answers["studies"] = (200, {}, json.dumps([{"0020000D": {"vr": "UI", "Value": [uid(1)]}}] * 200).encode())
    assert fetch_images(pacs.url, [], workspace.incoming).fetched == 5


def test_a_filter_goes_to_the_level_that_it_belongs_to(pacs: Pacs, workspace: Workspace) -> None:
    query = ["Modality=CT", "StudyDate=20240101-20241231", "00100020=A*", "InstanceNumber=1"]
    fetch_images(pacs.url, query, workspace.incoming)
    queries = {len(urlsplit(each).path.split("/")): parse_qs(urlsplit(each).query) for each in pacs.asked}
    studies = {"ModalitiesInStudy": ["CT"], "StudyDate": ["20240101-20241231"], "PatientID": ["A*"]}
    assert {key: value for key, value in queries[3].items() if key not in {"limit", "offset"}} == studies
    assert queries[5]["Modality"] == ["CT"]
    assert queries[7]["InstanceNumber"] == ["1"]


@pytest.mark.parametrize("hostile", ["../../x", "1.2/../../3", "1.2.3?x=1", "", 7, "1" * 65, "1.2\n.3"])
def test_a_uid_that_is_a_path_is_refused_and_nothing_leaves_the_folder(
    pacs: Pacs, workspace: Workspace, hostile: object
) -> None:
    """FAULTS 27, over the network."""
    entries = [{"00080018": {"vr": "UI", "Value": [each]}} for each in (hostile, uid(1, 1, 0))]
    pacs.answers[f"studies/{uid(1)}/series/{uid(1, 1)}/instances"] = (200, {}, json.dumps(entries).encode())
    fetched = fetch_images(pacs.url, [], workspace.incoming)
    assert [(each.field, each.expected) for each in fetched.refused] == [("(0008,0018)", "a UID")]
    assert fetched.fetched == 3
    assert fetched.found == fetched.fetched + fetched.there + len(fetched.refused)
    assert not any(".." in path or "?x" in path for path in pacs.asked)
    outside = [p for p in workspace.root.parent.rglob("*.dcm") if not p.is_relative_to(fetched.folder)]
    assert all(path.parent.name == "pacs" for path in outside)


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        ((404, {}, b""), "404, nothing at this address"),
        ((500, {}, b""), "500, an error of the server"),
        ((200, {"Content-Type": "text/html"}, b"<html>"), "an answer of another type than DICOM"),
        ((200, {"Content-Type": "multipart/related"}, b"x"), "an answer of several parts without a boundary"),
        ((200, {"Content-Type": "multipart/related; boundary=b"}, b"--b--"), "an answer without any part"),
        ((200, {"Content-Type": "multipart/related; boundary=b"}, b"x" * 99999), "whose first part does not begin"),
        ((200, {"Content-Type": "multipart/related; boundary=b"}, b"--b\r\n\r\nx"), "ends before its closing boundary"),
        ((200, {"Content-Type": "multipart/related; boundary=b"}, b"--b\r\n\r\nx\r\n--b--"), "a part that is no DICOM"),
    ],
)
def test_an_instance_that_cannot_be_had_is_told_and_the_others_come(
    pacs: Pacs, workspace: Workspace, answer: tuple[int, dict[str, str], bytes], got: str
) -> None:
    path = f"studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}"
    pacs.answers[path] = answer
    fetched = fetch_images(pacs.url, [], workspace.incoming)
    assert fetched.fetched == 4
    (refused,) = fetched.refused
    assert got in refused.got
    assert refused.record == f"instance {uid(1, 1, 1)}"
    left = [each for each in fetched.folder.rglob("*") if each.is_file()]
    assert len(left) == 4, "no half file"
    del pacs.answers[path]
    assert fetch_images(pacs.url, [], workspace.incoming).fetched == 1


def test_an_answer_that_breaks_off_leaves_no_half_file(pacs: Pacs, workspace: Workspace) -> None:
    kind = {"Content-Type": "multipart/related; boundary=b", "Content-Length": "100000", "Connection": "close"}
    path = f"studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}"
    pacs.answers[path] = (200, kind, b"--b\r\n\r\n" + b"x" * 1000)
    with pytest.raises(InputError, match="breaks off"):
        fetch_images(pacs.url, [], workspace.incoming)
    assert all(each.read_bytes() in pacs.files.values() for each in workspace.incoming.rglob("*.dcm"))
    del pacs.answers[path]
    assert len(list(fetch_images(pacs.url, [], workspace.incoming).folder.rglob("*.dcm"))) == 5


@pytest.mark.parametrize(
    ("status", "words"), [(401, "TELLTALE_DICOMWEB_TOKEN"), (403, "forbidden"), (404, "check the path of the service")]
)
def test_a_service_that_refuses_is_one_error_with_its_address(
    pacs: Pacs, workspace: Workspace, status: int, words: str
) -> None:
    pacs.answers["studies"] = (status, {}, b"a page of words that nobody needs")
    with pytest.raises(InputError) as error:
        fetch_images(
            pacs.url, ["PatientName=Archer*"], workspace.incoming, credentials={"TELLTALE_DICOMWEB_TOKEN": "s3cret"}
        )
    assert str(error.value).startswith(f"{pacs.url}, studies: expected an answer, got {status}")
    assert words in str(error.value)
    assert "s3cret" not in str(error.value)
    assert "Archer" not in str(error.value)


def test_a_redirect_to_another_host_is_not_followed_and_gets_no_credentials(workspace: Workspace, pacs: Pacs) -> None:
    other = Pacs({})
    with serving(other):
        pacs.answers["studies"] = (302, {"Location": f"http://127.0.0.1:{other.port}/dicom-web/studies"}, b"")
        with pytest.raises(InputError, match="not followed"):
            fetch_images(pacs.url, [], workspace.incoming, credentials=TOKEN)
        assert other.asked == []


def test_credentials_go_with_every_request(workspace: Workspace, pacs: Pacs) -> None:
    fetch_images(pacs.url, [], workspace.incoming, credentials=TOKEN)
    assert {each["Authorization"] for each in pacs.headers} == {"Bearer s3cret"}


def test_credentials_do_not_go_over_plain_http(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="expected https"):
        fetch_images("http://pacs.example.org/x", [], workspace.incoming, credentials={"TELLTALE_DICOMWEB_TOKEN": "t"})


@pytest.mark.parametrize(
    "url",
    ["ftp://x/y", "file:///etc/passwd", "pacs", "http://u:s3cret@x/y", "http://x:99999/", "http://x/y?z=1", "//x"],
)
def test_an_address_that_is_none_or_holds_a_password_is_refused(workspace: Workspace, url: str) -> None:
    with pytest.raises(InputError) as error:
        fetch_images(url, [], workspace.incoming)
    assert "s3cret" not in str(error.value)


def test_a_port_where_nobody_listens_is_one_error(workspace: Workspace, servers: ModuleType) -> None:
    with pytest.raises(InputError, match="got no connection; check address and port"):
        fetch_images(f"http://127.0.0.1:{servers.free_port()}/dicom-web", [], workspace.incoming)


def test_a_server_that_is_silent_is_one_error(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr("ingest.fetch.web.READ_SECONDS", 0.2)
    monkeypatch.setattr("ingest.fetch.web.ATTEMPTS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(InputError, match="got silence"):
        fetch_images(f"http://127.0.0.1:{silent.getsockname()[1]}", [], workspace.incoming)


def test_a_busy_server_is_asked_again(workspace: Workspace, pacs: Pacs) -> None:
    answers = iter([(503, {"Retry-After": "0"}, b""), (503, {"Retry-After": "0"}, b"")])
    plain = pacs.answer
    pacs.answer = lambda target: next(answers, None) or plain(target)  # type: ignore[method-assign]
    assert fetch_images(pacs.url, [], workspace.incoming).fetched == 5


@pytest.mark.parametrize("body", [b"{}", b"<html>", b"[" * 100_000, b"7", b'[{"0020000D": 7}]', b"[7]"])
def test_an_answer_that_is_no_search_result_is_one_error_or_a_refusal(
    workspace: Workspace, pacs: Pacs, body: bytes
) -> None:
    pacs.answers["studies"] = (200, {}, body)
    try:
        fetched: Fetched | None = fetch_images(pacs.url, [], workspace.incoming)
    except InputError as error:
        assert "DICOM JSON" in str(error)  # noqa: PT017 - either of two is right
    else:
        assert fetched is not None
        assert len(fetched.refused) == 1


@pytest.mark.parametrize("text", ["Modality", "=CT", "Modalty=CT", "99999999=x", "Modality="])
def test_a_filter_that_is_none_is_refused(workspace: Workspace, text: str) -> None:
    with pytest.raises(InputError, match="--query"):
        fetch_images("http://127.0.0.1:1/", [text], workspace.incoming)


def test_a_misspelt_filter_tells_the_nearest(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="the nearest are Modality"):
        fetch_images("http://127.0.0.1:1/", ["Modalty=CT"], workspace.incoming)


def test_a_full_disk_is_one_error_and_leaves_no_half_file(pacs: Pacs, workspace: Workspace) -> None:
    """FAULTS 40: a limit on the size of files stands for the full disk."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256, before[1]))
    try:
        with pytest.raises(InputError, match="room to write"):
            fetch_images(pacs.url, [], workspace.incoming)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in workspace.incoming.rglob("*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.servers
def test_from_a_real_orthanc_into_the_observation_table(
    tmp_path: Path, servers: ModuleType, series: Callable[..., list[Path]], workspace: Workspace
) -> None:
    files = [*series(1, 1, 3), *series(1, 2, 2, Modality="CR"), *series(2, 1, 2, PatientID="2", PatientName="B^B")]
    with servers.orthanc(tmp_path / "orthanc") as pacs:
        pacs.add(*files)
        fetched = fetch_images(pacs.dicomweb, ["Modality=DX"], workspace.incoming)
        assert (fetched.found, fetched.fetched, fetched.refused) == (5, 5, ())
        again = fetch_images(pacs.dicomweb, ["Modality=DX"], workspace.incoming)
        assert (again.found, again.fetched, again.there) == (5, 0, 5)
        assert fetch_images(pacs.dicomweb, ["PatientID=2"], workspace.incoming).fetched == 2
        with pytest.raises(InputError, match="expected an instance that fits, got none"):
            fetch_images(pacs.dicomweb, ["PatientID=nobody"], workspace.incoming)
    account = ingest(workspace, [fetched.folder])
    assert (account.total.seen, account.total.used, account.subjects) == (5, 5, 2)
    assert ingest(workspace, [fetched.folder]).total.used == 0


@pytest.mark.slow
@pytest.mark.servers
def test_a_real_orthanc_with_a_password(tmp_path: Path, servers: ModuleType, workspace: Workspace) -> None:
    with servers.orthanc(tmp_path / "orthanc", users={"reader": "s3cret"}) as pacs:
        with pytest.raises(InputError, match="401, not authorised"):
            fetch_images(pacs.dicomweb, [], workspace.incoming)
        right = {"TELLTALE_DICOMWEB_USER": "reader", "TELLTALE_DICOMWEB_PASSWORD": "s3cret"}
        with pytest.raises(InputError, match="an instance that fits"):
            fetch_images(pacs.dicomweb, [], workspace.incoming, credentials=right)
