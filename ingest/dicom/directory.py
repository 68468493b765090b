"""A DICOMDIR: which files of the delivery it names, and which of those are not there (DICOM PS3.10, 8)."""

from collections.abc import Iterator
from pathlib import Path

from ingest.account.quarantine import Refusal
from ingest.delivery.bounds import LIBRARY_ERRORS
from ingest.delivery.sources import SourceFile
from ingest.dicom.header import open_dicom

MAX_SHOWN = 1000  # missing files of one directory
_FIELD = "Referenced File ID"


def missing_files(directory: SourceFile) -> Iterator[Refusal]:
    """A refusal for each file that a directory names and that is not in the delivery. Raises InputError.

    File IDs are not shown: they carry patients' names more often than they should.
    """
    with open_dicom(directory.path) as opened:
        found = 0
        names: dict[Path, dict[str, Path]] = {}
        for number, record in enumerate(opened.dataset.get("DirectoryRecordSequence") or (), 1):
            if (refusal := _problem(directory, record.get("ReferencedFileID"), number, names)) is not None:
                found += 1
                if found > MAX_SHOWN:
                    yield Refusal(_FIELD, "the files that DICOMDIR names", f"over {MAX_SHOWN:,} that are not there")
                    return
                yield refusal


def _problem(
    directory: SourceFile, reference: object, number: int, names: dict[Path, dict[str, Path]]
) -> Refusal | None:
    where = f"{_FIELD} of record {number}"
    if reference in (None, ""):
        return None  # a patient, a study: they have no file
    parts = [reference] if isinstance(reference, str) else [str(part) for part in reference]  # type: ignore[attr-defined]
    parts = [piece for part in parts for piece in part.strip(" \0").split("\\")]
    if any(part in ("", ".", "..") or "/" in part or "\0" in part or Path(part).is_absolute() for part in parts):
        return Refusal(where, "a path of names below DICOMDIR", "a path that leads elsewhere")
    try:
        path = directory.path.parent.joinpath(*parts).resolve()
        if not path.is_relative_to(directory.root):
            return Refusal(where, "a path of names below DICOMDIR", "a path that leads out of the delivery")
        if path.is_file() or _in_any_case(directory.path.parent, parts, names):
            return None
    except LIBRARY_ERRORS:
        return Refusal(where, "a path of names below DICOMDIR", "a path that cannot be followed")
    return Refusal(where, "the file that DICOMDIR names", "none", "copy the whole medium")


def _in_any_case(folder: Path, parts: list[str], names: dict[Path, dict[str, Path]]) -> bool:
    """Whether the file is there under a name of other case, or with the version that ISO 9660 adds to names."""
    for part in parts:
        if not folder.is_dir():
            return False
        if folder not in names:
            names[folder] = {entry.name.casefold().removesuffix(";1"): entry for entry in folder.iterdir()}
        folder = names[folder].get(part.casefold(), folder / part)
    return folder.is_file()
