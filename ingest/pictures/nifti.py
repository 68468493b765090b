"""NIfTI volumes (.nii, .nii.gz): values as float32 and where they lie."""

import gzip
import io
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ingest.delivery.bounds import LIBRARY_ERRORS, check_decoded, check_size
from ingest.dicom.quiet import quiet_warnings
from ingest.errors import InputError

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

_GZIP = b"\x1f\x8b"
_HEADER_BYTES = 540  # of NIfTI-2, the longer one
_UNITS_MM = {1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units: metres, millimetres, micrometres
_MAGIC_AT = {348: (344, (b"n+1\0",)), 540: (4, (b"n+2\0",))}


def looks_like_nifti(path: Path, head: bytes) -> bool:
    """Whether a file is NIfTI in one file, plain or gzipped, by its content."""
    if head[:2] == _GZIP:
        if not path.name.lower().endswith(".nii.gz"):
            return False
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, _HEADER_BYTES)
        except zlib.error:
            return True  # it says that it is one: the error is told when it is read
        if len(head) < 352:
            return True
    for order in ("little", "big"):
        size = int.from_bytes(head[:4], order)
        if size in _MAGIC_AT:
            place, magics = _MAGIC_AT[size]
            return head[place : place + 4] in magics
    return False


def read_nifti(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """(values (I, J, K) float32, scaled as the header says; affine (4, 4) from indices to RAS+ mm).

    A fourth axis gives its first volume. LPS is `diag(-1, -1, 1, 1) @ affine`. Raises InputError.
    """
    image = _opened(path)
    try:
        first = image.dataobj[(..., *[0] * (image.ndim - 3))] if image.ndim > 3 else image.dataobj
        values = np.asarray(first, np.float32)
        if not values.flags.writeable:  # a view of the file's bytes
            values = values.copy()
        np.nan_to_num(values, copy=False, posinf=0, neginf=0)
        return values, _affine(path, image)
    except LIBRARY_ERRORS as error:
        raise _broken(path, f"data that do not decode ({type(error).__name__})") from None


def check_nifti(path: Path) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """((I, J, K), spacing in mm along them) of a file whose header is sound. Raises InputError."""
    image = _opened(path, header_only=True)
    zooms = image.header.get_zooms()[:3]  # type: ignore[no-untyped-call]
    return image.shape[:3], tuple(float(zoom) * _unit_mm(image) for zoom in zooms)


def stored_array(path: Path) -> NDArray[Any]:
    """The numbers as stored, axes as in the file. Raises InputError."""
    image = _opened(path)
    try:
        return np.asarray(image.dataobj.get_unscaled())  # type: ignore[attr-defined]  # an ArrayProxy
    except LIBRARY_ERRORS as error:
        raise _broken(path, f"data that do not decode ({type(error).__name__})") from None


def count_slices(path: Path) -> int:
    """Slices along the third axis. Raises InputError."""
    return check_nifti(path)[0][2]


def displayed_slice(path: Path, number: int) -> NDArray[np.float32]:
    """A slice (J, I) of the third axis in [0, 1] of the volume's range: rows from the front, columns from the right."""
    values = read_nifti(path)[0]
    if not 0 <= number < values.shape[2]:
        raise InputError(str(path), field="frame", expected=f"0 to {values.shape[2] - 1}", got=str(number))
    low, high = float(values.min()), float(values.max())
    shown = np.ascontiguousarray(values[:, ::-1, number].T)
    if high <= low:
        return np.zeros_like(shown)
    shown -= np.float32(low)
    shown *= np.float32(1 / (high - low))
    return np.clip(shown, 0, 1, out=shown)


def _opened(path: Path, *, header_only: bool = False) -> "Nifti1Image":
    """The image, its size checked before any of it is decompressed."""
    try:
        from nibabel.filebasedimages import ImageFileError
        from nibabel.nifti1 import Nifti1Header, Nifti1Image
        from nibabel.nifti2 import Nifti2Header, Nifti2Image
        from nibabel.spatialimages import HeaderDataError
        from nibabel.wrapstruct import WrapStructError
    except ImportError:
        raise InputError(
            str(path), expected="the package nibabel, to read NIfTI", got="none", hint="pip install nibabel"
        ) from None

    quiet_warnings()
    try:
        head = _head(path)
        is_second = 540 in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
        header_class, image_class = (Nifti2Header, Nifti2Image) if is_second else (Nifti1Header, Nifti1Image)
        header = header_class.from_fileobj(io.BytesIO(head[: 540 if is_second else 348]))  # type: ignore[no-untyped-call]
        shape = tuple(int(n) for n in header.get_data_shape())
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) not in (3, 4) or min(shape) < 1:
            raise _broken(path, f"{len(shape)} axes, one of them empty" if shape else "no axes")
        check_size(str(path), shape[0], shape[1])
        size = math.prod(shape) * max(header.get_data_dtype().itemsize, 4)
        check_decoded(str(path), size)
        if header.get_data_dtype().kind not in "iuf":
            raise _broken(path, "colours or complex numbers")
        needed = math.prod(shape) * header.get_data_dtype().itemsize + int(header.get_data_offset())
        if header_only:
            content = head
        elif (content := _content(path, needed)) is None or len(content) < needed:
            raise _broken(path, "data that are cut short")
        image: Nifti1Image = image_class.from_bytes(content)
        return image
    except (*LIBRARY_ERRORS, ImageFileError, HeaderDataError, WrapStructError) as error:
        raise _broken(path, f"data that do not decode ({type(error).__name__})") from None


def _head(path: Path) -> bytes:
    return _content(path, _HEADER_BYTES + 16)


def _content(path: Path, length: int) -> bytes:
    """The first bytes of a file, inflated where it is gzipped; no more than asked for."""
    with path.open("rb") as file:
        if file.read(2) != _GZIP:
            file.seek(0)
            return file.read(length)
        file.seek(0)
        with gzip.GzipFile(fileobj=file) as inflated:
            return inflated.read(length)


def _affine(path: Path, image: "Nifti1Image") -> NDArray[np.float64]:
    affine = np.diag([*[_unit_mm(image)] * 3, 1.0]) @ np.asarray(image.affine, np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise InputError(str(path), field="affine", expected="an invertible matrix of numbers", got="something else")
    return affine


def _unit_mm(image: "Nifti1Image") -> float:
    """Millimetres in the unit of the header's lengths; where it states none, these are millimetres."""
    return _UNITS_MM.get(int(image.header["xyzt_units"]) & 7, 1.0)


def _broken(path: Path, got: str) -> InputError:
    return InputError(str(path), expected="a NIfTI volume of three axes", got=got)
