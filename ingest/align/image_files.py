"""From the files of one image or volume to its tensor: what worker processes do. Imports neither torch nor pydantic."""

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.account.quarantine import Refusal
from ingest.align.boxes import Box, body_box, marked_box, moved_box, scaled_box
from ingest.align.image_planes import Shown, fitted, read_shown, spaced
from ingest.align.volume import Slices, read_dicom_series, read_nifti_volume
from ingest.align.volume_geometry import SliceRefusal
from ingest.align.volume_grid import to_grid
from ingest.delivery.bounds import LIBRARY_ERRORS
from ingest.delivery.shown_names import ShownName
from ingest.errors import Complaint, InputError

MAX_FILE_BYTES = 1 << 31
SERIES = "series of "  # how the complaint about a volume of several files begins, in the place of a file


@dataclass(frozen=True)
class Wanted:
    """What a stream asks of its images: the fields of `ImageStream` of these names, and how they are stored.

    eight_bits: as a fraction of 255, else as float16.
    """

    shape: tuple[int, ...]
    channels: int
    spacing_mm: tuple[float, ...] | None
    orientation: str
    intensity: tuple[float, float] | None
    box: str
    eight_bits: bool


@dataclass(frozen=True)
class File:
    """A file, its SHA-256 when it was ingested, and the record that names it."""

    path: str
    sha256: str | None
    record: str = ""


@dataclass(frozen=True)
class ImageJob:
    """One element of a stream: a frame of a file, or a volume of one file or more.

    mask: for `box: mask`. refused: slices of the volume that were refused when they were ingested.
    """

    files: tuple[File, ...]
    wanted: Wanted
    frame: int = 0
    mask: File | None = None
    refused: int = 0


@dataclass(frozen=True)
class Fault:
    """Why there is no image: in full, with file and record, and in short, without."""

    complaint: Complaint

    def whole(self, first: File) -> tuple[str, ShownName]:
        """With record and file, as this may be shown; of a series as a whole, those of its first file. And the file."""
        found = self.complaint
        if not found.file.startswith(SERIES):
            file = ShownName(found.file)
            return str(replace(found, file=file)), file
        file = ShownName(first.path)
        return ", ".join(part for part in (file, first.record, str(found)) if part), file

    @property
    def short(self) -> str:
        """What was expected and what came; of a slice, which."""
        found = self.complaint
        where = found.file if found.file.startswith(SERIES) else ""
        said = str(Complaint(where, "", found.field, found.expected, found.got, found.hint))
        return said.removeprefix(": ")


def load_image(job: ImageJob) -> NDArray[np.generic] | Fault:
    """(channels, *shape) as the stream stores it, or why not."""
    try:
        flat = len(job.wanted.shape) == 2
        image = _flat(job) if flat else _volume(job)
    except InputError as error:
        return Fault(error.complaint)
    except SliceRefusal as refusal:
        file = next((file for file in job.files if file.record == refusal.record), job.files[0])
        return Fault(refusal.complaint(file.path, refusal.record))
    except Refusal as refusal:
        count = len(job.files)
        return Fault(refusal.complaint(f"{SERIES}{count} slices" if count > 1 else job.files[0].path, ""))
    except LIBRARY_ERRORS as error:
        got = f"data that cannot be aligned ({type(error).__name__})"
        return Fault(Complaint(job.files[0].path, "", "", "an image", got))
    return np.rint(image * 255).astype(np.uint8) if job.wanted.eight_bits else image.astype(np.float16)


def read_unchanged(path: Path, sha256: str | None) -> bytes:
    """The bytes of a file. Raises InputError where it is gone, or is not what it was when it was ingested."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(str(path), expected=f"at most {MAX_FILE_BYTES:,} bytes", got=f"{size:,}")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(str(path), expected="a readable file", got=error.strerror or "an error") from None
    if sha256 and (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise InputError(
            str(path), field="sha256", expected=f"{sha256[:12]}…", got=f"{found[:12]}…", hint="ingest it again"
        )
    return content


def _flat(job: ImageJob) -> NDArray[np.float32]:
    (file,), wanted = job.files, job.wanted
    path = Path(file.path)
    shown = read_shown(
        path, read_unchanged(path, file.sha256), job.frame, wanted.intensity, spacing=wanted.spacing_mm is not None
    )
    box = _flat_box(job, shown)
    if wanted.spacing_mm is None:
        return fitted(shown, wanted.shape, wanted.channels, box)
    return spaced(shown, wanted.shape, wanted.channels, wanted.spacing_mm, box)


def _flat_box(job: ImageJob, shown: Shown) -> Box | None:
    plane = shown.planes[0]
    if job.wanted.box == "body":
        return body_box(np.clip(plane, shown.low, shown.high), inverted=shown.inverted)
    if job.wanted.box == "mask":
        path, content = _mask(job)
        mask = read_shown(path, content, job.frame if _frames(path, content) > 1 else 0).planes[0]
        return scaled_box(marked_box(mask), mask.shape, plane.shape)
    return None


def _volume(job: ImageJob) -> NDArray[np.float32]:
    wanted = job.wanted
    if job.refused:
        got = f"{job.refused} that {'was' if job.refused == 1 else 'were'} refused by `telltale ingest`"
        raise Refusal("", "all slices", got, "mend and deliver what is in quarantine")
    slices = _slices(job.files)
    box: Box | None = None
    if wanted.box == "body":
        box = _body(slices)
    elif wanted.box == "mask":
        path, content = _mask(job)
        mask = _slices((File(str(path), None),), content)
        box = moved_box(marked_box(np.stack(mask.planes)), mask.grid, slices.grid, slices.shape)
    volume = to_grid(slices, wanted.shape, wanted.orientation, wanted.spacing_mm, wanted.intensity, box)
    return np.broadcast_to(volume, (wanted.channels, *volume.shape))


def _slices(files: tuple[File, ...], content: bytes | None = None) -> Slices:
    from ingest.pictures.nifti import looks_like_nifti

    paths = [Path(file.path) for file in files]
    if len(files) == 1:
        content = read_unchanged(paths[0], files[0].sha256) if content is None else content
        if looks_like_nifti(paths[0], content[:512]):
            return read_nifti_volume(paths[0])
        if not content[128:132] == b"DICM" and paths[0].suffix.lower() not in (".dcm", ".dicom", ".ima"):
            raise InputError(files[0].path, expected="a DICOM or NIfTI volume", got="a picture")
        return read_dicom_series(paths, [lambda: content], [files[0].record])
    contents = [partial(read_unchanged, path, file.sha256) for path, file in zip(paths, files, strict=True)]
    return read_dicom_series(paths, contents, [file.record for file in files])


def _body(slices: Slices) -> Box:
    """Around the body in all three axes: looked for on every slice, in values that slices share."""
    step = max(-(-max(slices.shape[1:]) // 128), 1)
    coarse = np.stack(
        [
            plane[::step, ::step].astype(np.float32) * np.float32(slope) + np.float32(intercept)
            for plane, slope, intercept in zip(slices.planes, slices.slopes, slices.intercepts, strict=True)
        ]
    )
    (first, last), *plane = body_box(coarse, inverted=slices.inverted)
    sides = slices.shape[1:]
    return (
        (first, last),
        *((low * step, min(high * step, side)) for (low, high), side in zip(plane, sides, strict=True)),
    )


def _mask(job: ImageJob) -> tuple[Path, bytes]:
    if job.mask is None:
        raise Refusal("mask", "a mask of this subject, by mask_codes", "none")
    path = Path(job.mask.path)
    return path, read_unchanged(path, job.mask.sha256)


def _frames(path: Path, content: bytes) -> int:
    from ingest.pictures.pixels import count_frames

    return count_frames(path, content=content)
