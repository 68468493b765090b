"""What a DICOM object says of each of its frames: where it lies, how it is rescaled, how it is shown.

Enhanced objects say it in functional groups, shared by all frames or one for each (DICOM PS3.3 C.7.6.16); others once,
at the top.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.dicom.header import dicom_errors, open_dicom
from ingest.errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Vector = tuple[float, ...]


@dataclass(frozen=True)
class FrameGeometry:
    """Where a frame lies in the patient's coordinates (LPS, mm); None where the object does not say."""

    position_mm: Vector | None  # of the centre of the first pixel: x, y, z
    orientation: Vector | None  # cosines of the direction along a row (x, y, z), then along a column
    spacing_mm: Vector | None  # between rows, between columns
    thickness_mm: float | None


@dataclass(frozen=True)
class Window:
    """A VOI window: centre, width, and the function that it is for (DICOM PS3.3 C.11.2)."""

    centre: float
    width: float
    function: str  # LINEAR, LINEAR_EXACT or SIGMOID


def read_geometry(path: Path, *, content: bytes | None = None) -> list[FrameGeometry]:
    """The geometry of each frame, in order. Raises InputError."""
    from ingest.dicom.pixels import number_of_frames

    with open_dicom(path, content) as opened:
        try:
            return geometry(opened.dataset, number_of_frames(opened))
        except dicom_errors() as error:
            raise InputError(
                str(path), expected="geometry that can be read", got=f"something else ({type(error).__name__})"
            ) from None


def geometry(dataset: "Dataset", frames: int) -> list[FrameGeometry]:
    """The geometry of each of so many frames."""
    shared = _vector(dataset, "GridFrameOffsetVector", frames)  # dose grids: mm along the normal, from the first
    found = []
    for number, groups in zip(range(frames), _groups(dataset, range(frames)), strict=True):
        position = _vector(_holder(groups, "PlanePositionSequence", dataset), "ImagePositionPatient", 3)
        orientation = _vector(_holder(groups, "PlaneOrientationSequence", dataset), "ImageOrientationPatient", 6)
        measures = _holder(groups, "PixelMeasuresSequence", dataset)
        spacing = _vector(measures, "PixelSpacing", 2) or _vector(measures, "ImagerPixelSpacing", 2)
        thickness = _number(measures, "SliceThickness")
        if shared and position and orientation and frames > 1:
            normal = np.cross(orientation[:3], orientation[3:])
            position = tuple(float(p) for p in np.array(position) + normal * (shared[number] - shared[0]))
        found.append(FrameGeometry(position, orientation, spacing, thickness))
    return found


def rescales(dataset: "Dataset", frames: Sequence[int]) -> list[tuple[float, float] | None]:
    """(slope, intercept) of these frames; None of one without."""
    found: list[tuple[float, float] | None] = []
    for groups in _groups(dataset, frames):
        holder = _holder(groups, "PixelValueTransformationSequence", dataset)
        slope, intercept = _number(holder, "RescaleSlope"), _number(holder, "RescaleIntercept")
        stated = slope is not None or intercept is not None
        found.append((1.0 if slope is None else slope, intercept or 0.0) if stated else None)
    return found


def window(dataset: "Dataset", frame: int) -> Window | None:
    """The first VOI window of a frame; None where there is none that can be used."""
    (groups,) = _groups(dataset, [frame])
    holder = _holder(groups, "FrameVOILUTSequence", dataset)
    centre, width = _number(holder, "WindowCenter"), _number(holder, "WindowWidth")
    if centre is None or width is None or width <= 0:
        return None
    return Window(centre, width, str(holder.get("VOILUTFunction", "LINEAR") or "LINEAR").strip().upper())


def _groups(dataset: "Dataset", frames: Sequence[int]) -> Iterator[tuple["Dataset", ...]]:
    """The functional groups of each of these frames: its own before the shared ones."""
    shared = tuple(dataset.get("SharedFunctionalGroupsSequence") or ())[:1]
    own = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    for frame in frames:
        yield (own[frame], *shared) if frame < len(own) else shared


def _holder(groups: Sequence["Dataset"], keyword: str, dataset: "Dataset") -> "Dataset":
    """The item that states something: of the first group that has this sequence, else the data set itself."""
    for group in groups:
        if items := group.get(keyword):
            item: Dataset = items[0]
            return item
    return dataset


def _vector(dataset: "Dataset", keyword: str, length: int) -> Vector | None:
    numbers = _numbers(dataset, keyword)
    return numbers if len(numbers) == length > 1 and all(map(isfinite, numbers)) else None


def _number(dataset: "Dataset", keyword: str) -> float | None:
    """The first number of an element; None where there is none."""
    numbers = _numbers(dataset, keyword, most=1)
    return numbers[0] if numbers and isfinite(numbers[0]) else None


def _numbers(dataset: "Dataset", keyword: str, most: int | None = None) -> Vector:
    """The values of a numeric element: of its text where it is still that, for a header has a dozen in every slice."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import RawDataElement

    tag = tag_for_keyword(keyword)
    assert tag is not None
    item: Any = dataset.get_item(tag) if tag in dataset else None
    if isinstance(item, RawDataElement) and item.value and (item.VR or dictionary_VR(tag)) in ("DS", "IS"):
        try:
            return tuple(map(float, item.value.split(b"\\")[:most]))
        except ValueError:
            pass  # an empty value among several, or no number: as pydicom has it
    value = dataset.get(keyword)
    if value is None or value == "":
        return ()
    return tuple(map(float, [value] if isinstance(value, str | float | int) else value[:most]))
