"""The files of a delivery: found, counted, and looked at once each; no path leads out of it."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ingest.account.quarantine import Refusal
from ingest.delivery.shown_names import ShownName
from ingest.errors import InputError
from ingest.signals.files import recording_sha256

if TYPE_CHECKING:
    from ingest.delivery.archive_streams import Budget

HEAD_BYTES = 4096
ARCHIVE_DEPTH = 2  # an archive, and one in it


@dataclass(frozen=True)
class SourceFile:
    """One file of a delivery. `root` is the folder that its references may not leave."""

    path: Path  # absolute, links resolved
    root: Path
    problem: str = ""  # why it is not even looked at
    label: str = ""  # what the root is called, where its own name says nothing: an archive's name
    refusal: Refusal | None = None  # why it, or a member of it, is refused before any reader sees it

    @property
    def name(self) -> ShownName:
        """The path as shown to people: from the delivery's folder on, without what could be a person's name."""
        return ShownName(self.full_name)

    @property
    def full_name(self) -> str:
        """The path from the delivery's folder on. It may name a person: it is matched, and never shown."""
        return f"{self.label or self.root.name}/{self.relative}"

    @property
    def relative(self) -> str:
        return self.path.relative_to(self.root).as_posix()

    @property
    def head(self) -> bytes:
        """The first bytes, enough to tell the format. Kept for the last files only: a delivery may have millions."""
        found = self.path.stat()
        return _head(self.path, found.st_size, found.st_mtime_ns)

    @cached_property
    def sha256(self) -> str:
        """Of the content; of a WFDB header, of the signal files that it names too."""
        return recording_sha256(self.path)

    def content(self, limit: int) -> bytes | None:
        """All bytes of a file of at most `limit`, whose SHA-256 is then known too; None of a longer one."""
        if self.path.stat().st_size > limit:
            return None
        content = self.path.read_bytes()
        self.__dict__.setdefault("sha256", hashlib.sha256(content).hexdigest())
        return content

    @cached_property
    def source(self) -> str:
        """The value of `source_file`: name and content, since tomorrow's delivery may have a file of the same name."""
        return f"{self.name}@{self.sha256[:12]}"


@lru_cache(maxsize=64)
def _head(path: Path, size: int, modified: int) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def find_files(sources: Sequence[Path], workspace: Path, *, unpacked: Path | None = None) -> list[SourceFile]:
    """All files of the sources, in order of path, each once; the workspace's own are left out.

    unpacked: a folder into which archives are unpacked; their members then stand in their place, and an archive or
    member that is refused stands there with its refusal. Raises InputError where a source is missing, or where there
    is no file at all.
    """
    found: dict[Path, SourceFile] = {}
    own = workspace.resolve()
    for source in sources:
        if not source.exists():
            raise InputError(str(source), expected="a file or a folder", got="nothing of that name")
        top = source.resolve()
        root = top if top.is_dir() else top.parent
        is_received = top.is_relative_to(own / "incoming")
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                found[path] = SourceFile(path, root, "link that leads out of the delivery")
            elif path.is_file() and (is_received or not (path.resolve()).is_relative_to(own)):
                resolved = path.resolve()
                found.setdefault(resolved, SourceFile(resolved, root, _name_problem(resolved)))
    if not found:
        names = ", ".join(str(source) for source in sources) or "no source"
        raise InputError(names, expected="at least one file", got=f"no files found in {names}")
    files = [found[path] for path in sorted(found)]
    return files if unpacked is None else _with_members(files, unpacked)


def _with_members(files: Sequence[SourceFile], unpacked: Path) -> list[SourceFile]:
    """The files with the members of archives in the place of these, each content of an archive once."""
    from ingest.delivery.archives import archive_kind  # imported here: not every caller unpacks

    every: list[SourceFile] = []
    done: set[str] = set()
    for file in files:
        kind = None if file.problem else archive_kind(file.path, file.head)
        if kind is None:
            every.append(file)
        elif file.sha256 in done:
            every.append(replace(file, problem="archive that is in the delivery twice"))
        else:
            done.add(file.sha256)
            every += _members(file, kind, unpacked, None, ARCHIVE_DEPTH)
    return every


def _members(
    archive: SourceFile, kind: str, unpacked: Path, budget: "Budget | None", depth: int
) -> Iterator[SourceFile]:
    """The files in an archive, and in archives in it; refusals stand for what is refused."""
    from ingest.delivery.archive_streams import TooMuch, budget_of
    from ingest.delivery.archives import archive_kind, unpack

    if depth == 0:
        deep = Refusal("", f"archives nested at most {ARCHIVE_DEPTH} deep", "deeper ones", "unpack it yourself")
        yield replace(archive, refusal=deep)
        return
    budget = budget or budget_of(archive.path)
    try:
        held = unpack(archive.path, kind, archive.sha256, unpacked, budget)
    except Refusal as refusal:
        yield replace(archive, refusal=refusal)
        return
    except TooMuch as error:
        yield replace(archive, refusal=Refusal("", "an archive of bearable size", str(error)))
        return
    for refused in held.refused:
        yield replace(archive, refusal=refused.refusal)
    root = held.files.resolve()
    members = [SourceFile(path, root, _name_problem(path), archive.full_name) for path in sorted(root.rglob("*"))]
    members = [member for member in members if member.path.is_file()]
    if not members and not held.refused:
        yield replace(archive, problem="archive without files")
    for member in members:
        inner = archive_kind(member.path, member.head)
        if inner is None:
            yield member
        else:
            yield from _members(member, inner, unpacked, budget, depth - 1)


def _name_problem(path: Path) -> str:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "file whose name is not UTF-8"
    return ""


def inside(file: SourceFile, reference: str, field: str) -> Path:
    """The file that `reference` (a relative path or url) names, seen from `file`. Raises Refusal if it leaves the root.

    The path itself is not shown in refusals: file names carry patients' names more often than they should.
    """
    expected = "a relative path of a file inside the delivery"
    parts = urlsplit(reference)
    if parts.scheme or parts.netloc or "\x00" in reference or parts.path.startswith(("/", "\\")):
        raise Refusal(field, expected, "an absolute path or an address")
    candidates = {reference, unquote(parts.path)}
    try:
        resolved = [(file.path.parent / candidate).resolve() for candidate in sorted(candidates)]
        if not all(path.is_relative_to(file.root) for path in resolved):
            raise Refusal(field, expected, "a path that leads out of the delivery")
        for path in resolved:
            if path.is_file():
                return path
    except (OSError, ValueError, RuntimeError):
        raise Refusal(field, expected, "a path that cannot be followed") from None
    raise Refusal(field, expected, "a path where there is no file")
