"""The pixels of an image file: as a viewer would show them, as they are stored, or as the values that they mean.

`read_image` gives one frame in [0, 1] for the eye; `read_frames` the stored numbers, equal to pydicom's `pixel_array`;
`read_values` physical values such as Hounsfield units. All may be called from threads and worker processes at once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.errors import InputError


def read_image(path: Path, frame: int = 0, *, content: bytes | None = None) -> NDArray[np.float32]:
    """One frame (H, W) or (H, W, 3) in [0, 1], of a DICOM, NIfTI, PNG, JPEG or TIFF file.

    DICOM: modality rescale, the stated VOI table or window (without one: 8-bit images by their full range, deeper
    ones by their own range), MONOCHROME1 inverted once, YBR and palettes to RGB. NIfTI: the slice `frame` of the
    third axis, by its volume's range. TIFF: page `frame`. Others: turned as EXIF says; transparency is dropped.
    content: the file's bytes, where they are in memory already. Raises InputError, one line, whatever is wrong.
    """
    kind = _kind(path, content)
    if kind == "dicom":
        from ingest.dicom.display import displayed_frame

        pixels = displayed_frame(path, frame, content)
    elif kind == "nifti":
        from ingest.pictures.nifti import displayed_slice

        pixels = displayed_slice(path, frame)
    else:
        from ingest.pictures.files import displayed_picture

        pixels = displayed_picture(path, frame, content)
    assert pixels.dtype == np.float32
    return pixels


def read_frames(path: Path, *, frames: Sequence[int] | None = None, content: bytes | None = None) -> NDArray[Any]:
    """The stored pixels, equal to pydicom's `pixel_array`: (H, W), (H, W, 3), (F, H, W) or (F, H, W, 3).

    frames: only these, from 0 on and in this order; the result then begins with their number, even if that is one.
    YBR is turned into RGB, as pydicom does; palettes and rescale are not applied. NIfTI: the stored array, axes as in
    the file. Pictures: (H, W), (H, W, channels), with a leading axis of pages where there are several.
    Raises InputError: one line, that names the missing decoder where that is the reason.
    """
    kind = _kind(path, content)
    if kind == "dicom":
        from ingest.dicom.pixels import stored_frames

        return stored_frames(path, frames, content)
    if kind == "nifti":
        from ingest.pictures.nifti import stored_array

        return stored_array(path)
    from ingest.pictures.files import stored_picture

    return stored_picture(path, frames, content)


def read_values(
    path: Path, *, frames: Sequence[int] | None = None, content: bytes | None = None
) -> NDArray[np.float32]:
    """Modality values (F, H, W) as float32: Hounsfield units, activity, stored numbers where nothing is stated.

    Always three axes; `frames` as in `read_frames`. Rescale slope and intercept are applied frame by frame where the
    functional groups of an enhanced object state them so; a modality lookup table likewise. MONOCHROME1 is not
    inverted: values are values. Colour is refused. NIfTI: its third axis is F (see `nifti_files.read_nifti` for the
    affine). Raises InputError.
    """
    kind = _kind(path, content)
    if kind == "dicom":
        from ingest.dicom.pixels import modality_values

        return modality_values(path, frames, content)
    if kind == "nifti":
        from ingest.pictures.nifti import read_nifti

        values = np.moveaxis(read_nifti(path)[0], 2, 0)
        return np.ascontiguousarray(values if frames is None else values[list(frames)])
    from ingest.pictures.files import picture_values

    return picture_values(path, frames, content)


def count_frames(path: Path, *, content: bytes | None = None) -> int:
    """How many frames (pages, slices) `read_image` can be asked for. Raises InputError."""
    kind = _kind(path, content)
    if kind == "dicom":
        from ingest.dicom.pixels import frames_of

        return frames_of(path, content)
    if kind == "nifti":
        from ingest.pictures.nifti import count_slices

        return count_slices(path)
    from ingest.pictures.files import count_pages

    return count_pages(path, content)


def _kind(path: Path, content: bytes | None) -> str:
    from ingest.dicom.header import looks_like_dicom
    from ingest.pictures.nifti import looks_like_nifti

    if content is not None:
        head = content[:512]
    elif path.is_file():
        with path.open("rb") as file:
            head = file.read(512)
    else:
        raise InputError(str(path), expected="an image file", got="nothing of that name")
    if looks_like_dicom(path, head):
        return "dicom"
    return "nifti" if looks_like_nifti(path, head) else "picture"
