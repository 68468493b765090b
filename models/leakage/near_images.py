"""Images that are nearly the same: scaled, compressed or brightened anew.

Every image becomes a picture of 64 x 64 means. Its hash is the signs of the 63 lowest cosine coefficients (as Zauner
2010, "Implementation and benchmarking of perceptual image hash functions"). Pairs whose hashes differ in few bits are
then compared by their detail: what stands out from the 5 x 5 means around it. Both are taken less the mean of the
stream, so that the anatomy that all share does not count. Mirrored, turned and cropped copies are not found.
"""

import numpy as np

from models.leakage.copies import components, copies, copies_finding
from models.leakage.duplicates import CHECK, affordable
from models.leakage.finding import Finding
from models.leakage.scope import Scope, blocks, streams_of

SIDE = 64
LOWEST = 8  # cosine coefficients a side
FEW_BITS = 10  # of 63
AROUND = 5  # pixels of a picture
ALIKE = 0.8  # the correlation of two details: of 8,131 images of HAM10000 a copy has 0.94, the next other lesion 0.65
MOST_IMAGES = 20_000
AT_ONCE = 1_024
FINEST = 192  # pixels a side that are read at least, before they are averaged


def near_image_findings(scope: Scope) -> list[Finding]:
    """Nearly the same image under different subjects, of each image stream."""
    found = []
    for stream in streams_of(scope.cohort, "image"):
        case, pictures = small_pictures(scope, stream)
        if len(case) > 1:
            groups = [np.unique(case[group]) for group in components(len(case), near_pairs(pictures))]
            where = copies(scope.cohort, groups)
            found.append(copies_finding(CHECK, stream, "groups of nearly the same images", where, len(case)))
    return found


def small_pictures(scope: Scope, stream: str) -> tuple[np.ndarray, np.ndarray]:
    """(case of each observed image, pictures (n, SIDE, SIDE) float16). Blank images are left out."""
    rows = affordable(scope, stream, MOST_IMAGES)
    cases, pictures = [np.zeros(0, np.int64)], [np.zeros((0, SIDE, SIDE), np.float16)]
    for at, arrays in blocks(scope.cohort, rows, stream):
        place, element = np.nonzero(arrays.observed)
        small = _shrunk(arrays.values[place, element])
        told = small.reshape(len(small), -1).std(1) > 0
        cases.append(rows[at[place[told]]])
        pictures.append(small[told].astype(np.float16))
    return np.concatenate(cases), np.concatenate(pictures)


def near_pairs(pictures: np.ndarray) -> np.ndarray:
    """(m, 2) pairs of pictures (n, SIDE, SIDE) that are nearly the same."""
    signs = _hashes(pictures)
    shared = _shared(pictures)
    agreeing = signs.shape[1] - 2 * FEW_BITS  # the product of two hashes that differ in FEW_BITS
    found = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(signs), AT_ONCE):
        first, second = np.nonzero(signs[start : start + AT_ONCE] @ signs[start:].T >= agreeing)
        pairs = start + np.stack([first, second], 1)[first < second]
        for some in range(0, len(pairs), AT_ONCE):
            a, b = (_standardised(_detail(pictures[pairs[some : some + AT_ONCE, side]]) - shared) for side in (0, 1))
            found.append(pairs[some : some + AT_ONCE][np.einsum("ij,ij->i", a, b) >= ALIKE])
    return np.concatenate(found)


def _hashes(pictures: np.ndarray) -> np.ndarray:
    """(n, 63) float32, 1 or -1."""
    from scipy.fft import dctn

    half = pictures.reshape(-1, SIDE // 2, 2, SIDE // 2, 2).mean((2, 4), dtype=np.float32)
    flat = _standardised(half.reshape(len(half), -1))
    flat = _standardised(flat - flat.mean(0))
    cosines = dctn(flat.reshape(half.shape), axes=(1, 2), norm="ortho")[:, :LOWEST, :LOWEST]
    return np.where(cosines.reshape(len(half), -1)[:, 1:] > 0, 1, -1).astype(np.float32)


def _shared(pictures: np.ndarray) -> np.ndarray:
    """(SIDE * SIDE,) the mean detail of all pictures."""
    sums = [_detail(pictures[start : start + AT_ONCE]).sum(0) for start in range(0, len(pictures), AT_ONCE)]
    return np.asarray(np.sum(sums, 0) / max(len(pictures), 1))


def _detail(pictures: np.ndarray) -> np.ndarray:
    """(n, SIDE * SIDE) what stands out from what lies around, each of length 1."""
    from scipy.ndimage import uniform_filter

    plain = pictures.astype(np.float32)
    return _standardised((plain - uniform_filter(plain, (0, AROUND, AROUND))).reshape(len(plain), -1))


def _standardised(flat: np.ndarray) -> np.ndarray:
    """Rows with mean 0 and length 1, so that a product of two is their correlation."""
    centred = flat - flat.mean(1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12), np.float32)


def _shrunk(images: np.ndarray) -> np.ndarray:
    """(n, SIDE, SIDE) means of the channels; of a volume its middle slice. images (n, C, [D,] H, W)."""
    if images.ndim == 5:
        images = images[:, :, images.shape[2] // 2]
    step_y, step_x = (max(size // FINEST, 1) for size in images.shape[2:])
    plane = np.asarray(images[:, :, ::step_y, ::step_x].mean(1, dtype=np.float32))
    for axis in (1, 2):
        plane = _averaged(plane, axis)
    return plane


def _averaged(plane: np.ndarray, axis: int) -> np.ndarray:
    """SIDE means along an axis; what has fewer pixels than that is repeated first."""
    size = plane.shape[axis]
    if size < SIDE:
        plane, size = np.repeat(plane, -(-SIDE // size), axis), size * -(-SIDE // size)
    starts = np.arange(SIDE) * size // SIDE
    widths = np.diff(np.append(starts, size)).astype(np.float32)
    shape = [-1 if a == axis else 1 for a in range(3)]
    return np.asarray(np.add.reduceat(plane, starts, axis) / widths.reshape(shape))
