"""The files of a delivery: found, counted, and looked at once each; no path leads out of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ingest.errors import InputError
from ingest.files import sha256_of
from ingest.quarantine import Refusal

HEAD_BYTES = 4096


@dataclass(frozen=True)
class SourceFile:
    """One file of a delivery. `root` is the folder that its references may not leave."""

    path: Path  # absolute, links resolved
    root: Path
    problem: str = ""  # why it is not even looked at

    @property
    def name(self) -> str:
        """The path as shown to people: from the delivery's folder on."""
        return f"{self.root.name}/{self.relative}"

    @property
    def relative(self) -> str:
        return self.path.relative_to(self.root).as_posix()

    @cached_property
    def head(self) -> bytes:
        """The first bytes, enough to tell the format."""
        with self.path.open("rb") as file:
            return file.read(HEAD_BYTES)

    @cached_property
    def sha256(self) -> str:
        return sha256_of(self.path)

    @cached_property
    def source(self) -> str:
        """The value of `source_file`: name and content, since tomorrow's delivery may have a file of the same name."""
        return f"{self.name}@{self.sha256[:12]}"


def find_files(sources: Sequence[Path], workspace: Path) -> list[SourceFile]:
    """All files of the sources, in order of path, each once; the workspace's own are left out.

    Raises InputError where a source is missing, or where there is no file at all.
    """
    found: dict[Path, SourceFile] = {}
    own = workspace.resolve()
    for source in sources:
        if not source.exists():
            raise InputError(str(source), expected="a file or a folder", got="nothing of that name")
        top = source.resolve()
        root = top if top.is_dir() else top.parent
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                found[path] = SourceFile(path, root, "link that leads out of the delivery")
            elif path.is_file() and not (resolved := path.resolve()).is_relative_to(own):
                found.setdefault(resolved, SourceFile(resolved, root, _name_problem(resolved)))
    if not found:
        names = ", ".join(str(source) for source in sources) or "no source"
        raise InputError(names, expected="at least one file", got=f"no files found in {names}")
    return [found[path] for path in sorted(found)]


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
