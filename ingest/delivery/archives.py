"""Archives: zip, tar (plain, gzip, bzip2, xz, zstd) and single compressed files, unpacked so that none can do harm.

`unpacked/<first half of the archive's SHA-256>/files/` holds the members, `refused.json` beside it those that were
refused. It appears as a whole or not at all, and a second run finds it there.

Nothing is written outside: absolute paths, `..`, links, devices and names that are not UTF-8 are refused. Nothing grows
without bound: not the number of members, nor the bytes written in proportion to the archive's own.
"""

import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import orjson

from ingest.account.quarantine import Refusal
from ingest.delivery.archive_streams import BROKEN, Budget, TooMuch, open_inflated, single_name

if TYPE_CHECKING:
    import tarfile

MAX_MEMBERS = 200_000
_CHUNK = 1 << 20
_OFFICE = {
    ".xlsx", ".xlsm", ".docx", ".pptx", ".ods", ".odt", ".odp", ".epub", ".jar", ".npz", ".whl", ".apk", ".pt", ".pth",
    ".keras",
}  # fmt: skip
_OFFICE_MEMBERS = {"[Content_Types].xml", "mimetype", "META-INF/MANIFEST.MF", "AndroidManifest.xml"}
_TEMPORARY = ".unpacking-"
_DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class MemberRefusal:
    """What is wrong with a member; its name is not kept, since it may be a person's."""

    field: str
    expected: str
    got: str

    @property
    def refusal(self) -> Refusal:
        return Refusal(self.field, self.expected, self.got)


@dataclass(frozen=True)
class Unpacked:
    """Where the members are, and which were refused."""

    files: Path
    refused: tuple[MemberRefusal, ...]


def archive_kind(path: Path, head: bytes) -> str | None:
    """zip, tar, or single (one compressed file); None of what is read as it is: tables, FHIR lines, NIfTI, Office.

    A gzipped file is an archive only if what is inside is a tar or DICOM.
    """
    if head[128:132] == b"DICM":
        return None
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return None if path.suffix.lower() in _OFFICE or _is_office(path) else "zip"
    if head[257:262] == b"ustar" or (path.suffix.lower() == ".tar" and len(head) >= 512):
        return "tar"
    if single_name(path, head) is None:
        return None
    try:
        with open_inflated(path, head, Budget(1 << 20)) as stream:
            start = stream.read(512)
    except (*BROKEN, TooMuch):
        return None if head[:2] == b"\x1f\x8b" else "single"
    if start[257:262] == b"ustar":
        return "tar"
    return "single" if start[128:132] == b"DICM" or head[:2] != b"\x1f\x8b" else None


def unpack(path: Path, kind: str, sha256: str, folder: Path, budget: Budget) -> Unpacked:
    """Unpack an archive into `folder`/<digest>/files, or find it there. Raises Refusal of the whole archive."""
    target = folder / sha256[:16]
    if not target.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        temporary = Path(tempfile.mkdtemp(dir=folder, prefix=_TEMPORARY))
        try:
            refused = _unpacked(path, kind, temporary / "files", budget)
            (temporary / "refused.json").write_bytes(orjson.dumps([asdict(each) for each in refused]))
            os.sync()
            temporary.rename(target)
        except TooMuch as error:
            hint = "unpack it yourself if it can be trusted"
            raise Refusal("", "an archive of bearable size", str(error), hint) from None
        except BROKEN as error:
            if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
                raise  # the disk, not the archive
            got = f"data that cannot be unpacked ({type(error).__name__})"
            raise Refusal("", f"a sound {kind} archive", got) from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    else:
        budget.spend(sum(file.stat().st_size for file in target.rglob("*") if file.is_file()))
    refused_members = orjson.loads((target / "refused.json").read_bytes())
    return Unpacked(target / "files", tuple(MemberRefusal(**each) for each in refused_members))


def _unpacked(path: Path, kind: str, files: Path, budget: Budget) -> list[MemberRefusal]:
    files.mkdir(mode=0o700)
    writer = _Writer(files, budget)
    with path.open("rb") as file:
        head = file.read(512)
    if kind == "zip":
        _unpack_zip(path, writer)
    elif kind == "tar":
        _unpack_tar(path, head, writer)
    else:
        with open_inflated(path, head, Budget(budget.left + _CHUNK)) as stream:
            writer.write(single_name(path, head) or path.name, stream.read)
    return writer.refused


class _Writer:
    """Writes members below one folder, within a budget, and notes those that it refuses."""

    def __init__(self, files: Path, budget: Budget) -> None:
        self._files, self.budget = files, budget
        self._members = 0
        self.refused: list[MemberRefusal] = []

    def refuse(self, expected: str, got: str) -> None:
        """The member that is the turn of is not written."""
        self.refused.append(MemberRefusal(f"member {self._members}", expected, got))

    def count(self) -> None:
        """The next member."""
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise TooMuch(f"more than {MAX_MEMBERS:,} members")

    def write(self, name: str, read: Callable[[int], bytes]) -> None:
        """Write a member under its name, if that stays inside; `read` gives its bytes."""
        target = self._place(name)
        if target is None:
            return
        try:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except (FileExistsError, NotADirectoryError):
            self.refuse("a name of its own", "that of an earlier member")
            return
        try:
            with os.fdopen(descriptor, "wb") as file:
                while chunk := read(_CHUNK):
                    self.budget.spend(len(chunk))
                    file.write(chunk)
        except BaseException:
            target.unlink()
            raise

    def _place(self, name: str) -> Path | None:
        plain = name.replace("\\", "/")
        parts = PurePosixPath(plain).parts
        if plain.startswith("/") or ".." in parts or not parts or "\0" in plain or plain[1:2] == ":":
            self.refuse("a path inside the archive", "a path that leads out of it")
            return None
        try:
            too_long = len(plain.encode()) > 2000 or any(len(part.encode()) > 255 for part in parts)
        except UnicodeEncodeError:
            self.refuse("a name in UTF-8", "another encoding")
            return None
        if too_long:
            self.refuse("a name of at most 255 bytes", "a longer one")
            return None
        return self._files.joinpath(*parts)


def _unpack_zip(path: Path, writer: _Writer) -> None:
    _check_directory(path)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.flag_bits & 1 for member in members):
            raise Refusal("", "an archive without password", "an encrypted one", "unpack it yourself")
        if sum(member.compress_size for member in members) > path.stat().st_size:
            raise TooMuch("members that overlap")
        for member in members:
            if member.is_dir():
                continue
            writer.count()
            if (member.external_attr >> 16) & 0o170000 not in (0, 0o100000):
                writer.refuse("a file", "a link or a device")
                continue
            try:
                with archive.open(member) as stream:
                    writer.write(member.filename, stream.read)
            except BROKEN as error:
                if isinstance(error, OSError) and error.filename is not None:
                    raise
                writer.refuse("a sound member", f"data that cannot be unpacked ({type(error).__name__})")


def _check_directory(path: Path) -> None:
    """Refuse a zip whose directory is longer than any honest one, before it is read into memory."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 65_557, 0))
        tail = file.read()
    place = tail.rfind(b"PK\x05\x06")
    if place >= 0 and (length := int.from_bytes(tail[place + 12 : place + 16], "little")) != 0xFFFFFFFF:
        entries = length // 46
    else:
        entries = 0 if place < 0 else size // 46
    if entries > 8 * MAX_MEMBERS:  # an entry is 46 bytes and its name
        raise TooMuch(f"a directory of more than {MAX_MEMBERS:,} members")


def _unpack_tar(path: Path, head: bytes, writer: _Writer) -> None:
    import tarfile

    # Besides members' bytes there are headers and padding, and members that are refused.
    budget = Budget(2 * writer.budget.left + _CHUNK)
    with open_inflated(path, head, budget) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
        for member in _members(archive):
            if member.isdir():
                continue
            writer.count()
            if member.issparse() or not member.isreg():
                writer.refuse("a file", "a link, a device or a sparse file")
                continue
            extracted = archive.extractfile(member)
            assert extracted is not None
            writer.write(member.name, extracted.read)


def _members(archive: "tarfile.TarFile") -> "Iterator[tarfile.TarInfo]":
    """The members one after another; the list that tarfile keeps of them is kept empty."""
    while (member := archive.next()) is not None:
        yield member
        archive.members.clear()  # type: ignore[attr-defined]  # not public, but the only way


def _is_office(path: Path) -> bool:
    """Whether a zip is a document or a program: those are one file, whatever they are made of."""
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (*BROKEN, TooMuch):
        return False
    return bool(_OFFICE_MEMBERS & set(names[:50])) or (bool(names) and all(name.endswith(".npy") for name in names))


def _sweep(folder: Path) -> None:
    """Remove what a killed run left; another run's, at the same moment, is younger than a day."""
    for left in folder.glob(f"{_TEMPORARY}*"):
        if time.time() - left.stat().st_mtime > _DAY_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
