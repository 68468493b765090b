"""What the corners and edges of images tell: marks that were burned in, and what a machine leaves around a picture."""

from pathlib import Path

import numpy as np

from models.leakage.finding import Finding
from models.leakage.origins import Origin, first_sources, strongest
from models.leakage.scope import Scope, blocks, streams_of
from models.leakage.separation import cross_validated, separation, small_boosting

CHECK, SIZE = "image borders", "file size"
ALARM, LOOK = 0.9, 0.75  # of an AUROC: an illness is seldom in the corners
FINGERPRINT = 0.95
CORNER, EDGE = 6, 16  # the part of a side that a corner and an edge take
ORIGINS = 3
STEP = (
    "look at the corners of some images of each outcome: crop what is burned in (`box: body`), or take both outcomes "
    "from the same machines"
)
SIZE_STEP = "compare how the files of the two outcomes were made: their format and compression differ"
ORIGIN_STEP = (
    "the images tell where they come from, and that tells the outcome: split by place (`group_by`) and report each"
)


def border_findings(scope: Scope, origins: list[Origin]) -> list[Finding]:
    """Per image stream: what a small model of corners and edges alone says of the outcome, and of the origin."""
    found = []
    for stream in streams_of(scope.cohort, "image"):
        place, columns = border_columns(scope, stream)
        target, subjects = scope.target[place], scope.subjects[place]
        if not len(place) or len(np.unique(target)) < 2:
            continue
        said = cross_validated(lambda: small_boosting(scope.seed), columns, target, subjects, scope.seed)
        if said is not None:
            told = separation(said, target, subjects)
            verdict = told.verdict(ALARM, LOOK)
            step = "" if verdict == "fine" else STEP
            found.append(Finding(CHECK, stream, f"corners and edges alone: {told}", verdict, step, told.value))
        found += _origin_findings(scope, stream, place, columns, origins)
        found += _size_findings(scope, stream)
    return found


def border_columns(scope: Scope, stream: str) -> tuple[np.ndarray, np.ndarray]:
    """(places of the cases that have an image, mean, deviation, extremes and roughness of 4 corners and 4 edges).

    Of the latest image of a case, the mean of its channels; of a volume the middle slice.
    """
    places, columns = [np.zeros(0, np.int64)], []
    for at, arrays in blocks(scope.cohort, scope.rows, stream):
        latest = np.where(arrays.observed, arrays.hours, -np.inf).argmax(1)
        images = arrays.values[np.arange(len(at)), latest]
        if images.ndim == 5:
            images = images[:, :, images.shape[2] // 2]
        places.append(at)
        columns.append(np.concatenate([_summed_up(part) for part in _parts(images)], 1))
    return np.concatenate(places), np.concatenate(columns) if columns else np.zeros((0, 40), np.float32)


def _parts(images: np.ndarray) -> list[np.ndarray]:
    """Four corners and four edges of images (n, C, H, W)."""
    height, width = images.shape[2:]
    y, x = max(height // CORNER, 1), max(width // CORNER, 1)
    thin_y, thin_x = max(height // EDGE, 1), max(width // EDGE, 1)
    corners = [
        images[:, :, rows, columns] for rows in (slice(y), slice(-y, None)) for columns in (slice(x), slice(-x, None))
    ]
    return [
        *corners,
        images[:, :, :thin_y],
        images[:, :, -thin_y:],
        images[:, :, :, :thin_x],
        images[:, :, :, -thin_x:],
    ]


def _summed_up(part: np.ndarray) -> np.ndarray:
    """(n, 5) of a part (n, C, h, w)."""
    plane = part.mean(1, dtype=np.float32)
    flat = plane.reshape(len(plane), -1)
    rough = [np.abs(np.diff(plane, axis=axis)).reshape(len(plane), -1) for axis in (1, 2)]
    steps = np.concatenate([*rough, np.zeros((len(plane), 1), np.float32)], 1)
    return np.stack([flat.mean(1), flat.std(1), flat.min(1), flat.max(1), steps.mean(1)], 1)


def _origin_findings(
    scope: Scope, stream: str, place: np.ndarray, columns: np.ndarray, origins: list[Origin]
) -> list[Finding]:
    """Whether the borders tell the most frequent kind of the most telling origins from the others."""
    found = []
    for origin in strongest(scope, origins)[:ORIGINS]:
        known = origin.kinds[place] != ""
        kinds, counts = np.unique(origin.kinds[place][known], return_counts=True)
        target, subjects = scope.target[place][known], scope.subjects[place][known]
        if len(kinds) < 2 or len(np.unique(target)) < 2:
            continue
        ours = (origin.kinds[place][known] == kinds[counts.argmax()]).astype(int)
        said = cross_validated(lambda: small_boosting(scope.seed), columns[known], ours, subjects, scope.seed)
        if said is None:
            continue
        told = separation(said, ours, subjects)
        tells = separation(ours.astype(float), target, subjects)
        grave = told.value > FINGERPRINT and tells.low > 0.55
        figure = f"borders tell {origin.what}: {told}; which tells the outcome: {tells}"
        found.append(
            Finding(CHECK, stream, figure, "look" if grave else "fine", ORIGIN_STEP if grave else "", told.value)
        )
    return found


def _size_findings(scope: Scope, stream: str) -> list[Finding]:
    """The size of the files, where they can still be reached."""
    assets = [Path(asset) if asset else None for asset in first_sources(scope.cohort, scope.rows, stream)["asset"]]
    sizes = np.array([np.nan if path is None or not path.is_file() else path.stat().st_size for path in assets])
    known = np.isfinite(sizes)
    if not known.any() or len(np.unique(scope.target[known])) < 2:
        return []
    told = separation(sizes[known], scope.target[known], scope.subjects[known])
    verdict = told.verdict(ALARM, LOOK)
    return [
        Finding(
            SIZE,
            stream,
            f"bytes of the file alone: {told}",
            verdict,
            "" if verdict == "fine" else SIZE_STEP,
            told.value,
        )
    ]
