"""Archives: what is in them is read, and nothing in them does harm (FAULTS 25, 27)."""

import bz2
import gzip
import io
import json
import lzma
import re
import stat
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.account import quarantine
from ingest.delivery.archive_streams import FREE_BYTES
from ingest.delivery.sources import SourceFile, find_files
from ingest.run import ingest
from ingest.store import read_observations
from ingest.workspace import Workspace

Write = Callable[..., Path]


def find(folder: Path) -> list[SourceFile]:
    return find_files([folder], folder.parent / "workspace", unpacked=folder.parent / "workspace" / "unpacked")


def tar_of(members: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]  # the mode is a parameter
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("set.zip", zip_of({"set/a.txt": b"a", "set/b.txt": b"b"})),
        ("set.tar", tar_of({"set/a.txt": b"a", "set/b.txt": b"b"})),
        ("set.tar.gz", tar_of({"set/a.txt": b"a", "set/b.txt": b"b"}, "w:gz")),
        ("set.tar.bz2", tar_of({"set/a.txt": b"a", "set/b.txt": b"b"}, "w:bz2")),
        ("set.tar.xz", tar_of({"set/a.txt": b"a", "set/b.txt": b"b"}, "w:xz")),
        ("set.tar.zst", pa.compress(tar_of({"set/a.txt": b"a", "set/b.txt": b"b"}), "zstd", asbytes=True)),
    ],
)
def test_members_stand_in_the_archive_s_place_under_its_name(tmp_path: Path, name: str, content: bytes) -> None:
    folder = tmp_path / "delivery"
    folder.mkdir()
    (folder / name).write_bytes(content)
    (folder / "z.txt").write_bytes(b"z")
    found = find(folder)
    assert [file.name for file in found] == [
        f"delivery/{name}/set/a.txt", f"delivery/{name}/set/b.txt", "delivery/z.txt"
    ]  # fmt: skip
    assert [file.path.read_bytes() for file in found] == [b"a", b"b", b"z"]
    assert found[0].relative == "set/a.txt"
    modified = found[0].path.stat().st_mtime_ns
    assert find(folder)[0].path.stat().st_mtime_ns == modified, "a second run finds it unpacked"
    assert not stat.S_IMODE(found[0].path.stat().st_mode) & 0o077, "what is in it may be a patient's"


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_single_compressed_image_is_read(
    workspace: Workspace, delivery: Path, write_dicom: Write, compress: Callable[[bytes], bytes]
) -> None:
    path = write_dicom(delivery / "a.dcm")
    (delivery / "a.dcm.compressed").write_bytes(compress(path.read_bytes()))
    path.unlink()
    assert ingest(workspace, [delivery]).total.used == 1


def test_tables_and_documents_stay_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "delivery"
    folder.mkdir()
    (folder / "labs.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    (folder / "book.bin").write_bytes(zip_of({"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"}))
    (folder / "array.npz").write_bytes(zip_of({"a.npy": b"x"}))
    assert [file.path.name for file in find(folder)] == ["array.npz", "book.bin", "labs.csv.gz"]


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..\\x", "C:\\x", "a\\..\\..\\x"])
def test_a_member_that_leads_out_is_refused_and_the_others_are_read(
    workspace: Workspace, tmp_path: Path, write_dicom: Write, name: str
) -> None:
    """FAULTS 27: nothing is written outside, and the refusal is in the account."""
    image = write_dicom(tmp_path / "a.dcm").read_bytes()
    before = sorted(path for path in tmp_path.rglob("*") if not path.is_relative_to(workspace.root))
    for suffix, content in (
        ("zip", zip_of({name: b"x", "a.dcm": image})),
        ("tar", tar_of({name: b"x", "a.dcm": image})),
    ):
        (tmp_path / f"x.{suffix}").write_bytes(content)
    account = ingest(workspace, [tmp_path / "x.zip", tmp_path / "x.tar"])
    assert account.by_format["archive"].refused == 2
    assert account.by_format["DICOM"].used == 1, "the second is a duplicate"
    assert all("leads out" in complaint.got and name not in str(complaint) for complaint in account.refusals)
    after = sorted(path for path in tmp_path.rglob("*") if not path.is_relative_to(workspace.root))
    assert {path.name for path in set(after) - set(before)} == {"x.zip", "x.tar"}
    assert not Path("/etc/x").exists()
    assert ingest(workspace, [tmp_path / "x.zip"]).total.refused == 1, "the next run says so too"


def test_links_devices_and_second_members_of_a_name_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "delivery"
    folder.mkdir()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo(f"m{kind!r}")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        for content in (b"first", b"again"):
            member = tarfile.TarInfo("a.txt")
            member.size = 5
            archive.addfile(member, io.BytesIO(content))
    (folder / "x.tar").write_bytes(buffer.getvalue())
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(folder / "y.zip", "w") as zipped:
        zipped.writestr(link, "/etc/passwd")
    found = find(folder)
    assert [file.refusal.got for file in found if file.refusal][:4] == ["a link, a device or a sparse file"] * 4
    assert sum(file.refusal is not None for file in found) == 6
    assert [file.path.read_bytes() for file in found if not file.refusal] == [b"first"]


def _zip_bomb() -> bytes:
    return zip_of({"zeros": bytes(2 * FREE_BYTES)})


def _gzip_bomb() -> bytes:
    header = tarfile.TarInfo("zeros")
    header.size = 1 << 33
    return gzip.compress(header.tobuf()) + 400 * gzip.compress(bytes(1 << 20))


def _bomb_behind_a_refused_member() -> bytes:
    header = tarfile.TarInfo("../zeros")
    header.size = 1 << 33
    return gzip.compress(header.tobuf()) + 400 * gzip.compress(bytes(1 << 20))


def _bomb_in_a_header() -> bytes:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    return gzip.compress(header.tobuf(tarfile.PAX_FORMAT)) + 100 * gzip.compress(bytes(1 << 20))


def _nested() -> bytes:
    inner = zip_of({"zeros": bytes(FREE_BYTES // 2)})
    return zip_of({f"{number}.zip": inner + bytes(number) for number in range(4)})


def _encrypted() -> bytes:
    content = bytearray(zip_of({"a": b"secret"}))
    content[6] |= 1  # the local header's flag, and the directory's
    content[content.index(b"PK\1\2") + 8] |= 1
    return bytes(content)


def _overlapping() -> bytes:
    content = bytearray(zip_of({"a": bytes(100_000), "b": bytes(100_000)}))
    places = [place for place in range(len(content)) if content[place : place + 4] == b"PK\1\2"]
    for place in places:
        content[place + 20 : place + 24] = struct.pack("<I", len(content))
    return bytes(content)


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (_zip_bomb, "times its own size"),
        (_gzip_bomb, "times its own size"),
        (_bomb_behind_a_refused_member, "times its own size"),
        (_bomb_in_a_header, "a header of more than"),
        (_nested, "times its own size"),
        (_encrypted, "an encrypted one"),
        (_overlapping, "overlap"),
        (lambda: zip_of({"a": b"x" * 1000})[:60], "cannot be unpacked"),
        (lambda: tar_of({"a": b"x" * 100_000}, "w:gz")[:-50], "cannot be unpacked"),
    ],
)  # fmt: skip
def test_bombs_and_broken_archives_are_refused_within_a_second(
    tmp_path: Path, make: Callable[[], bytes], got: str
) -> None:
    """FAULTS 25."""
    folder = tmp_path / "delivery"
    folder.mkdir()
    (folder / "x.tar.gz").write_bytes(make())
    start = time.process_time()
    found = find(folder)
    assert time.process_time() - start < 1.0
    refusals = [file.refusal for file in found if file.refusal is not None]
    assert refusals
    assert re.search(got, str(refusals[-1]))
    left = [path for path in (tmp_path / "workspace" / "unpacked").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in left) <= 2 * FREE_BYTES


def test_an_archive_in_an_archive_is_read_and_one_in_that_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "delivery"
    folder.mkdir()
    third = zip_of({"deep.txt": b"d"})
    second = tar_of({"b.txt": b"b", "third.zip": third})
    (folder / "first.zip").write_bytes(zip_of({"a.txt": b"a", "second.tar": second}))
    found = find(folder)
    assert [file.name for file in found if not file.refusal] == [
        "delivery/first.zip/a.txt", "delivery/first.zip/second.tar/b.txt"
    ]  # fmt: skip
    assert [file.refusal.got for file in found if file.refusal] == ["deeper ones"]


def test_a_run_without_archives_unpacks_nothing(workspace: Workspace, delivery: Path, write_dicom: Write) -> None:
    write_dicom(delivery / "a.dcm")
    ingest(workspace, [delivery])
    assert not workspace.unpacked.exists()
    assert len(read_observations(workspace)) == 1


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["zip", "tar", "tar.gz"]), st.data())
def test_a_damaged_archive_never_raises(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    members = {"a.txt": b"a" * 700, "b/c.txt": bytes(range(256)) * 4}
    content = bytearray(zip_of(members) if kind == "zip" else tar_of(members, "w:gz" if kind == "tar.gz" else "w"))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("damaged") / "delivery"
    folder.mkdir()
    (folder / f"x.{kind}").write_bytes(content)
    for file in find(folder):
        assert file.path.is_relative_to(folder.parent)


@pytest.mark.parametrize("refused_members", [1, 3])
def test_a_refused_archive_is_copied_once_into_quarantine(
    workspace: Workspace, delivery: Path, refused_members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tar_of({f"../{number}": b"x" for number in range(refused_members)})
    (delivery / "outside.tar").write_bytes(outside)
    cut = tar_of({"a": b"x" * 100_000}, "w:gz")[:-50]
    (delivery / "cut.tar.gz").write_bytes(cut)
    account = ingest(workspace, [delivery])
    assert account.by_format["archive"].refused == refused_members + 1
    folder = workspace.quarantine / account.run
    kept = [json.loads(line) for line in (folder / "refused.jsonl").read_text().splitlines()]
    assert {(folder / line["copy"]).read_bytes() for line in kept} == {outside, cut}
    assert len(list((folder / "files").iterdir())) == 2
    monkeypatch.setattr(quarantine, "MAX_COPIED_BYTES", len(cut) - 1)
    account = ingest(workspace, [delivery / "cut.tar.gz"])
    (line,) = (workspace.quarantine / account.run / "refused.jsonl").read_text().splitlines()
    assert json.loads(line)["copy"] is None
