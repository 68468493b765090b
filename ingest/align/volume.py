"""Volumes as they were taken: the slices of a DICOM series, a multi-frame object, a NIfTI file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ingest.account.quarantine import Refusal
from ingest.align.dicom_frame import Dicom, parse_dicom, stored_frame
from ingest.align.volume_geometry import Grid, Plane, SliceRefusal, check_planes, stack
from ingest.align.volume_shear import leaning, straightened
from ingest.errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from ingest.dicom.frames import Window

MAX_VOXELS = 1 << 28  # 268 million: 1,024 slices of 512 x 512
AXIS_TOLERANCE = 0.02  # of the cosine between two axes of a NIfTI file


@dataclass(frozen=True)
class Slices:
    """A volume: K slices (H, W) of stored numbers in order along the grid's first axis.

    value = number * slope + intercept, slice by slice. inverted: low values are bright. modality: CT, MR ...; empty
    where it is not stated. window: the VOI window of the middle slice. full_range: of numbers of 8 bits.
    """

    planes: Sequence[NDArray[np.number]]
    slopes: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    grid: Grid
    inverted: bool = False
    modality: str = ""
    window: "Window | None" = None
    full_range: tuple[float, float] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(K, H, W)."""
        height, width = self.planes[0].shape
        return len(self.planes), height, width


def read_dicom_series(paths: Sequence[Path], contents: Sequence[Callable[[], bytes]], records: Sequence[str]) -> Slices:
    """The volume of single-frame files, or of one multi-frame file. Raises Refusal or InputError.

    contents give the bytes of each file once, when asked: so no more than one file is in memory beside its pixels.
    """
    if len(paths) == 1:
        dicom = parse_dicom(paths[0], contents[0]())
        if dicom.frames > 1:
            return _multi_frame(dicom)
    read = []
    for path, content, record in zip(paths, contents, records, strict=True):
        read.append(_one(path, content, record))
        _check_voxels((len(paths), *read[0].pixels.shape))
    check_planes([one.plane for one in read])
    order, grid = stack([one.plane for one in read])
    in_order = [read[place] for place in order]
    middle = in_order[len(in_order) // 2]
    if len({str(one.header.get("PhotometricInterpretation")).strip() for one in read}) > 1:
        raise Refusal("Photometric Interpretation", "one for all slices", "several")
    found = Slices(
        [one.pixels for one in in_order],
        np.array([one.rescale[0] for one in in_order]),
        np.array([one.rescale[1] for one in in_order]),
        grid,
        *_display(middle.header, 0, middle.pixels),
    )
    return _straight(found, leaning(np.array([one.plane.position_mm for one in in_order]), grid))


def read_nifti_volume(path: Path) -> Slices:
    """The volume of a NIfTI file. Raises Refusal or InputError."""
    from ingest.pictures.nifti import read_nifti

    values, affine = read_nifti(path)
    _check_voxels(values.shape)
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    steps = to_lps[:3, :3].T[::-1]  # per slice, row, column: the axes k, j, i of the file
    spacing = np.linalg.norm(steps, axis=1)
    axes = steps / spacing[:, None]
    lean = None
    if np.abs(axes @ axes.T - np.eye(3)).max() > AXIS_TOLERANCE:
        if abs(axes[1] @ axes[2]) > AXIS_TOLERANCE:
            raise Refusal("affine", "rows and columns at right angles", "sheared ones", "reformat it first")
        normal = np.cross(axes[1], axes[2])
        axes[0] = normal * np.sign(normal @ steps[0]) / np.linalg.norm(normal)
        spacing[0] = axes[0] @ steps[0]
        lean = np.arange(values.shape[2])[:, None] * (axes[1:] @ steps[0] / spacing[1:])
    planes = [np.ascontiguousarray(values[:, :, k].T) for k in range(values.shape[2])]
    ones = np.ones(len(planes))
    return _straight(Slices(planes, ones, np.zeros(len(planes)), Grid(axes, spacing, to_lps[:3, 3])), lean)


@dataclass(frozen=True)
class _Slice:
    plane: Plane
    pixels: NDArray[np.number]
    rescale: tuple[float, float]
    header: "Dataset"


def _one(path: Path, content: Callable[[], bytes], record: str) -> _Slice:
    from ingest.dicom.frames import geometry, rescales
    from ingest.dicom.header import dicom_errors

    try:
        dicom = parse_dicom(path, content())
        header = dicom.header
        if dicom.frames > 1:
            raise SliceRefusal(record, "Number of Frames", "1 in each slice of a series", f"{dicom.frames}")
        (place,), (rescale,) = geometry(header, 1), rescales(header, [0])
        pixels = _without_padding(dicom, stored_frame(dicom))
        pixels, rescale = _through_table(dicom, pixels, rescale)
        plane = Plane(
            record,
            place.position_mm or (),
            place.orientation or (),
            place.spacing_mm or (),
            pixels.shape[0],
            pixels.shape[1],
            str(header.get("FrameOfReferenceUID", "")),
        )
        return _Slice(plane, pixels, rescale or (1.0, 0.0), header)
    except InputError as error:
        found = error.complaint
        raise SliceRefusal(record, found.field, found.expected, found.got) from None
    except dicom_errors() as error:
        raise SliceRefusal(record, "", "a readable slice", f"another ({type(error).__name__})") from None


def _multi_frame(dicom: Dicom) -> Slices:
    from ingest.dicom.frames import geometry, rescales

    header, count = dicom.header, dicom.frames
    places = geometry(header, count)
    rows, columns = int(header.Rows), int(header.Columns)
    _check_voxels((count, rows, columns))
    planes = [
        Plane(
            f"frame {number + 1}",
            _position(dicom, number, place.position_mm or (), place.orientation or ()),
            place.orientation or (),
            place.spacing_mm or (),
            rows,
            columns,
        )
        for number, place in enumerate(places)
    ]
    check_planes(planes)
    order, grid = stack(planes)
    factors = [factor or (1.0, 0.0) for factor in rescales(header, order.tolist())]
    pixels = [_without_padding(dicom, stored_frame(dicom, int(number))) for number in order]
    found = Slices(
        pixels,
        np.array([slope for slope, _ in factors]),
        np.array([intercept for _, intercept in factors]),
        grid,
        *_display(header, int(order[count // 2]), pixels[0]),
    )
    return _straight(found, leaning(np.array([planes[number].position_mm for number in order]), grid))


def _straight(slices: Slices, lean: NDArray[np.float64] | None) -> Slices:
    """The same volume as a straight stack; around its slices lies what is darkest in each."""
    if lean is None:
        return slices
    _, height, width = slices.shape
    _check_voxels((len(lean), *(np.ceil(np.ptp(lean, axis=0)) + 1 + [height, width]).astype(int)))
    low_is_dark = (slices.slopes > 0) != slices.inverted
    fill = [float(p.min() if low else p.max()) for p, low in zip(slices.planes, low_is_dark, strict=True)]
    planes, grid = straightened(slices.planes, lean, slices.grid, fill)
    return replace(slices, planes=planes, grid=grid)


def _position(dicom: Dicom, number: int, stated: Sequence[float], orientation: Sequence[float]) -> tuple[float, ...]:
    """Of one frame; objects without functional groups state that of the first, and the distance between slices."""
    between = dicom.number("SpacingBetweenSlices", 0.0)
    if "PerFrameFunctionalGroupsSequence" in dicom.header or "GridFrameOffsetVector" in dicom.header or not between:
        return tuple(stated)
    if len(stated) != 3 or len(orientation) != 6:
        return tuple(stated)
    normal = np.cross(orientation[:3], orientation[3:])
    return tuple((np.array(stated) + number * between * normal).tolist())


def _without_padding(dicom: Dicom, pixels: NDArray[np.number]) -> NDArray[np.number]:
    """Pixels that stand for nothing (PS3.3 C.7.5.1.1.2) become as low as the lowest that stand for something."""
    if "PixelPaddingValue" not in dicom.header or not (padding := dicom.numbers("PixelPaddingValue")):
        return pixels
    limit = dicom.number("PixelPaddingRangeLimit", padding[0])
    padded = (pixels >= min(padding[0], limit)) & (pixels <= max(padding[0], limit))
    if not padded.any() or padded.all():
        return pixels
    filled = pixels.copy()
    filled[padded] = pixels[~padded].max() if dicom.inverted else pixels[~padded].min()
    return filled


def _through_table(
    dicom: Dicom, pixels: NDArray[np.number], rescale: tuple[float, float] | None
) -> tuple[NDArray[np.number], tuple[float, float] | None]:
    if not dicom.header.get("ModalityLUTSequence"):
        return pixels, rescale
    from pydicom.pixels.processing import apply_modality_lut

    return np.asarray(apply_modality_lut(pixels, dicom.header), np.float32), None


def _display(
    header: "Dataset", frame: int, pixels: NDArray[Any]
) -> "tuple[bool, str, Window | None, tuple[float, float] | None]":
    """The last four fields of `Slices`. Numbers of 8 bits are made to be looked at, over their full range."""
    from ingest.dicom.frames import window

    made_to_see = pixels.dtype == np.uint8 and header.get("BitsStored") == 8
    inverted = str(header.get("PhotometricInterpretation", "")).strip() == "MONOCHROME1"
    return inverted, str(header.get("Modality", "")), window(header, frame), (0.0, 255.0) if made_to_see else None


def _check_voxels(shape: Sequence[int]) -> None:
    if int(np.prod(shape, dtype=np.int64)) > MAX_VOXELS:
        raise Refusal("size", f"at most {MAX_VOXELS:,} voxels", " x ".join(str(side) for side in shape))
