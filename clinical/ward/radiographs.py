"""Frontal chest radiographs of the ward, drawn as sums of attenuation along the beam.

Coordinates: x from -1 (the patient's right, at the image's left) to 1, y from 0 (top) to 1, both after a random
placement of the patient. Each structure adds or takes away attenuation; a tone curve turns the sum into grey, dense
tissue being bright. The reading of the X-ray sets the density and the extent of an opacity in both lower lobes.
Anatomy, placement, exposure, the split of the opacity between the sides, vessels and grain mean nothing.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

SIZE = 384  # rows and columns
FULL_SCALE = 4095  # 12 bits
BAND = 64  # rows drawn at once, few enough for the processor's cache
Image = npt.NDArray[np.float32]


def radiograph(reading: float, rng: np.random.Generator) -> npt.NDArray[np.uint16]:
    """An image as (SIZE, SIZE), 0 to FULL_SCALE, dense tissue bright."""
    body, place, opacity = _draw_chest(reading, rng)
    textures = np.stack([_vessels(rng), _clouds(rng), _clouds(rng)])
    gain, offset = rng.normal(1.0, 0.02), rng.normal(0.0, 0.006)
    image = np.empty((SIZE, SIZE), np.uint16)
    for top in range(0, SIZE, BAND):
        rows = slice(top, top + BAND)
        x, y = _placed(rows, place)
        density = _density(x, y, body, opacity, textures[:, rows]) + _marker()[rows]
        density += (0.006 + 0.010 * density) * rng.standard_normal(density.shape, dtype=np.float32)  # grain
        image[rows] = _tone(gain * density + offset)
    return image


@dataclass(frozen=True)
class Signs:
    """What somebody who reads the image well can say of it.

    opacity: its amount, 0 to about 1. right: the share of its right side beyond one half. heart: its half width in
    units of the grid, 0.30 on average.
    """

    opacity: float
    right: float
    heart: float


def signs(reading: float, rng: np.random.Generator) -> Signs:
    """The signs of the image that `radiograph` would draw with a generator in this state."""
    body, _, opacity = _draw_chest(reading, rng)
    return Signs(opacity.amount, opacity.tilt, body.heart[0])


def _draw_chest(reading: float, rng: np.random.Generator) -> "tuple[_Anatomy, _Placement, _Opacity]":
    return _draw_anatomy(rng), _draw_placement(rng), _draw_opacity(reading, rng)


def _density(x: Image, y: Image, body: "_Anatomy", opacity: "_Opacity", textures: Image) -> Image:
    """The attenuation of a band of rows; `textures` (3, rows, SIZE) are vessels, patches of opacity, and haze."""
    vessels, patches, haze = textures
    side = np.abs(x)
    wall = _chest_wall(y, body)
    heart, great = _heart(x, y, body)
    lungs = _lungs(x, y, side, wall, body) * (1 - np.maximum(0.95 * heart, 0.8 * great))
    depth = np.sqrt(np.clip(1 - np.square(side / wall), 0, 1))
    bones = _ribs(side, y, wall, body) * (0.3 + 0.7 * lungs)
    middle = slice(SIZE * 40 // 100, SIZE * 60 // 100)
    bones[:, middle] += _spine(x[:, middle], y[:, middle], body)
    if y.min() < 0.52:  # below it there are none of these
        bones += _clavicles(side, y, body) + _shoulders(side, y)
        bones[:, middle] += _airways(x[:, middle], y[:, middle])
    inside, density = _torso(x, side, y, body)
    density -= lungs * (0.30 + 0.13 * depth)
    density += 0.050 * np.maximum(heart, great) + bones
    density += lungs * (vessels + _consolidation(opacity, x, side, y, patches))
    return np.asarray((density + 0.016 * haze) * inside)


@dataclass(frozen=True)
class _Anatomy:
    """What differs from person to person, in units of the grid."""

    half_width: float  # of the rib cage
    apex: float  # height of the lungs' tops
    domes: tuple[float, float]  # height of the right and the left half of the diaphragm
    heart: tuple[float, float]  # half axes
    rib_phase: float
    rib_spacing: float
    rib_slope: float
    clavicle: float
    fat: float
    breast: float
    stomach: tuple[float, float]  # where its bubble of air is


def _draw_anatomy(rng: np.random.Generator) -> _Anatomy:
    level = rng.normal(0.765, 0.012)
    return _Anatomy(
        half_width=rng.normal(0.80, 0.025),
        apex=rng.normal(0.115, 0.01),
        domes=(level, level + rng.uniform(0.01, 0.035)),
        heart=(rng.normal(0.30, 0.025), rng.normal(0.185, 0.012)),
        rib_phase=rng.random(),
        rib_spacing=rng.normal(0.082, 0.004),
        rib_slope=rng.normal(0.15, 0.025),
        clavicle=rng.normal(0.175, 0.012),
        fat=rng.normal(0.0, 0.015),
        breast=max(0.0, rng.normal(0.015, 0.02)),
        stomach=(rng.normal(0.38, 0.04), level + rng.uniform(0.05, 0.08)),
    )


@dataclass(frozen=True)
class _Placement:
    """How the patient stands before the detector."""

    turn: float
    zoom: float
    right: float
    down: float


def _draw_placement(rng: np.random.Generator) -> _Placement:
    return _Placement(rng.normal(0.0, 0.012), rng.normal(1.0, 0.02), rng.normal(0.0, 0.02), rng.normal(0.0, 0.012))


@dataclass(frozen=True)
class _Opacity:
    """The consolidation of both lower lobes."""

    amount: float  # 0 to about 1
    tilt: float  # the share of the right side beyond one half
    centre: float  # its distance from the midline


def _draw_opacity(reading: float, rng: np.random.Generator) -> _Opacity:
    """Density and extent grow with the reading; which side has more of it does not."""
    return _Opacity(float(np.clip((reading + 2.9) / 5.8, 0.02, 1.1)), rng.normal(0.0, 0.08), rng.normal(0.47, 0.025))


@lru_cache(maxsize=1)
def _upsampling(coarse: int) -> Image:
    """Cosine bumps (SIZE, coarse) that turn a coarse grid into a smooth image."""
    places = np.linspace(-0.5, coarse - 0.5, SIZE)[:, None] - np.arange(coarse)
    bumps = np.where(np.abs(places) < 1.5, 0.5 + 0.5 * np.cos(np.pi * places / 1.5), 0.0)
    return np.asarray(bumps / np.sqrt((bumps**2).sum(1, keepdims=True)), dtype=np.float32)


def _placed(rows: slice, place: _Placement) -> tuple[Image, Image]:
    """The coordinates of a band of rows in the patient, shifted, scaled and turned a little."""
    line = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE
    y, x = np.meshgrid(line[rows], 2 * line - 1, indexing="ij")
    across = place.zoom * (x - place.right) - 2 * place.turn * (y - 0.5)
    return np.asarray(across), np.asarray(place.zoom * (y - 0.5 - place.down) + 0.5 + 0.5 * place.turn * x)


def _step(distance: Image, width: float) -> Image:
    """A smooth step from 0 (distance well below 0) to 1, of a logistic curve's slope in the middle."""
    rise = distance * np.float32(1 / (6 * width))
    rise += np.float32(0.5)
    np.minimum(rise, 1, out=rise)
    np.maximum(rise, 0, out=rise)
    square = rise * rise
    rise *= -2
    rise += 3
    square *= rise
    return square


def _bump(x: Image, y: Image, at: tuple[float, float], half: tuple[float, float]) -> Image:
    """A Gaussian blob with half axes `half`."""
    return np.exp(-0.5 * (((x - at[0]) / half[0]) ** 2 + ((y - at[1]) / half[1]) ** 2))


def _ellipse(x: Image, y: Image, at: tuple[float, float], half: tuple[float, float], edge: float) -> Image:
    """A filled ellipse with a soft edge."""
    radius = np.sqrt(((x - at[0]) / half[0]) ** 2 + ((y - at[1]) / half[1]) ** 2)
    return _step(1 - radius, edge)


def _chest_wall(y: Image, body: _Anatomy) -> Image:
    """The half width of the inside of the rib cage at each height."""
    height = np.clip((0.86 - y) / (0.86 - body.apex), 0.0, 0.999)
    return np.asarray(body.half_width * np.sqrt(1 - height * height * height) + 0.02)


def _torso(x: Image, side: Image, y: Image, body: _Anatomy) -> tuple[Image, Image]:
    """Where the neck, shoulders and trunk are, and their thickness."""
    shoulder = 0.20 + 0.95 * _step(y - 0.05 - 0.11 * side, 0.020)
    trunk = np.minimum(shoulder, 0.98 + body.fat + 0.35 * np.clip(0.33 - y, 0, 1) + 0.10 * np.clip(y - 0.75, 0, 1))
    depth = np.clip(trunk - side, 0, 1)
    inside = _step(depth - 0.012, 0.006)
    thickness = 0.30 + body.fat + 0.30 * np.sqrt(np.clip(depth, 0, 0.45)) + 0.10 * _step(y - 0.78, 0.04)
    thickness += body.breast * _step(1 - np.hypot((side - 0.45) / 0.36, (y - 0.60) / 0.17), 0.03)
    thickness -= 0.09 * _bump(x, y, body.stomach, (0.10, 0.032))
    return inside, np.asarray(thickness)


def _lungs(x: Image, y: Image, side: Image, wall: Image, body: _Anatomy) -> Image:
    """Aerated lung: inside the wall, beside the spine, above the diaphragm."""
    right, left = body.domes
    across = np.clip((side - 0.38) / 0.42, -1.2, 1.4)
    floor = np.where(x < 0, np.float32(right), np.float32(left)) + 0.080 * across * across
    floor += 0.03 * np.clip(across, 0, 2) * across * across
    apex = np.clip((0.27 - y) / 0.15, 0, 1)
    return _step(wall - side, 0.008) * _step(side - 0.085 - 0.10 * apex * apex, 0.014) * _step(floor - y, 0.004)


def _heart(x: Image, y: Image, body: _Anatomy) -> tuple[Image, Image]:
    """The heart, and the great vessels above it."""
    wide, high = body.heart
    tilted = x - 0.50 * (y - 0.62)
    heart = _ellipse(tilted, y, (0.09, 0.655), (wide, high), 0.025)
    knob = _ellipse(x, y, (0.12, 0.335), (0.095, 0.055), 0.10)
    trunk = _ellipse(x, y, (0.12, 0.45), (0.11, 0.10), 0.10)
    cava = _ellipse(x, y, (-0.08, 0.38), (0.085, 0.20), 0.10)
    return heart, np.maximum(np.maximum(knob, trunk), cava)


def _spine(x: Image, y: Image, body: _Anatomy) -> Image:
    """Vertebral bodies, and the spinous processes over them."""
    side: Image = np.abs(x)
    along = y / 0.066 + body.rib_phase
    gap: Image = np.asarray(np.abs(along - np.rint(along)))
    bodies = _step(0.095 - side, 0.010) * (0.020 + 0.020 * _step(gap - 0.12, 0.04))
    return np.asarray(bodies + 0.020 * _bump(side, gap, (0.0, 0.5), (0.016, 0.16)))


def _airways(x: Image, y: Image) -> Image:
    """The windpipe and its two main branches, as less attenuation."""
    trachea = _step(0.042 - np.abs(x + 0.008), 0.008) * _step(0.36 - y, 0.015)
    branch = _step(0.024 - np.abs(np.abs(x) - 0.9 * (y - 0.350)), 0.008)
    branch *= _step(y - 0.345, 0.01) * _step(0.44 - y, 0.015)
    return np.asarray(-0.06 * np.maximum(trachea, 0.6 * branch))


def _ribs(side: Image, y: Image, wall: Image, body: _Anatomy) -> Image:
    """Ribs behind and, fainter, in front; all of them at once, as their spacing is even."""
    across = side / wall
    spacing = body.rib_spacing * (1 + 0.25 * y)
    behind = y - body.rib_slope * across * across + 0.05 * np.exp(-np.square(across - 0.35) / 0.05) * across
    ribs = 0.105 * _rib_profile(behind / spacing + body.rib_phase, 0.19) * _step(side - 0.07, 0.02)
    before = y - body.rib_slope - 0.36 * np.clip(1 - across, 0, 1)
    front = _step(across - 0.55, 0.06) * _step(y - 0.26, 0.04)
    ribs += 0.036 * _rib_profile(before / spacing + body.rib_phase, 0.24) * front
    ribs += 0.06 * np.exp(-np.square((across - 0.985) / 0.03))
    return np.asarray(ribs * _step(1.02 - across, 0.012) * _step(wall - 0.24, 0.02) * _step(0.90 - y, 0.02))


def _clavicles(side: Image, y: Image, body: _Anatomy) -> Image:
    """Collar bones, thick at the inner end, denser at their edges."""
    line = body.clavicle + 0.05 * np.exp(-np.square((side - 0.12) / 0.16)) - 0.07 * np.clip(side - 0.25, 0, 1)
    thick = 0.016 + 0.007 * np.exp(-np.square((side - 0.10) / 0.08))
    hollow = np.abs(y - line) / thick
    shape = _step(1 - hollow, 0.10) * (0.65 + 0.35 * hollow)
    return np.asarray(0.10 * shape * _step(side - 0.075, 0.01) * _step(0.86 - side, 0.02))


def _shoulders(side: Image, y: Image) -> Image:
    """Shoulder blades and the heads of the upper arms."""
    blade = _step(side - 0.64 - 0.35 * np.abs(y - 0.34), 0.008) * _step(0.50 - y, 0.02) * _step(y - 0.13, 0.02)
    arm = _step(1 - np.hypot((side - 0.98) / 0.13, (y - 0.215) / 0.075), 0.04)
    return np.asarray(0.035 * blade + 0.06 * arm)


def _rib_profile(phase: Image, half: float) -> Image:
    """Ribs at whole numbers of `phase`: a soft bar of half width `half`, brighter at its edges."""
    distance = np.abs(phase - np.rint(phase)) * np.float32(1 / half)
    return _step(1 - distance, 0.08) * (0.70 + 0.40 * distance * distance)


def _vessels(rng: np.random.Generator) -> Image:
    """Vessels that leave the roots of the lungs and fork, thinner and fainter outwards."""
    trunks, forks, steps = 22, 4, 70
    side = np.where(np.arange(trunks) % 2, 1.0, -1.0)[:, None, None]
    angle = rng.uniform(-1.2, 1.3, size=(trunks, 1, 1))
    start = 0.03 * rng.standard_normal((2, trunks, 1, 1))
    reach = rng.uniform(0.25, 0.62, size=(trunks, forks, 1))
    along = np.linspace(0.0, 1.0, steps)
    fork_at = rng.uniform(0.1, 0.5, size=(trunks, forks, 1))
    turn = rng.normal(0.0, 0.75, size=(trunks, forks, 1)) * np.clip(along - fork_at, 0, 1)
    bend = 0.006 * rng.standard_normal((trunks, forks, 1)) * np.sin(8 * along)
    across = side * (0.17 + start[0] + reach * np.cos(angle + turn) * along + bend)
    down = 0.465 - 0.015 * side + start[1] + 0.5 * reach * np.sin(angle + turn) * along + bend
    columns = ((across + 1) / 2 * SIZE).astype(np.int64).ravel()
    rows = (down * SIZE).astype(np.int64).ravel()
    weight = np.broadcast_to(0.55 * (1 - along), across.shape).ravel()
    inside = (columns >= 0) & (columns < SIZE) & (rows >= 0) & (rows < SIZE)
    place = rows[inside] * SIZE + columns[inside]
    drawn = np.bincount(place, weights=weight[inside], minlength=SIZE * SIZE).reshape(SIZE, SIZE).astype(np.float32)
    thin = gaussian_filter(np.minimum(drawn, 1.2), 0.9)
    thick = gaussian_filter(np.clip(drawn - 0.9, 0, 3), 2.2)
    return np.asarray(0.20 * thin + 0.30 * np.minimum(thick, 0.35))


def _consolidation(opacity: _Opacity, x: Image, side: Image, y: Image, patches: Image) -> Image:
    """Patchy opacity around the middle of each lower lobe."""
    share = np.where(x < 0, np.float32(1 + opacity.tilt), np.float32(1 - opacity.tilt))
    high = 0.07 + 0.11 * opacity.amount
    core = _bump(side, y, (opacity.centre, 0.70), (0.26, high))
    return np.asarray(0.42 * opacity.amount * share * core * np.clip(1 + 0.24 * patches, 0.2, 2.0))


def _clouds(rng: np.random.Generator) -> Image:
    """Smooth noise of unit variance."""
    coarse = rng.standard_normal((28, 28), dtype=np.float32)
    bumps = _upsampling(28)
    return np.asarray(bumps @ coarse @ bumps.T)


@lru_cache(maxsize=1)
def _marker() -> Image:
    """The lead letter R beside the patient's right shoulder."""
    rows = ("11110", "10001", "10001", "11110", "10100", "10010", "10001")
    letter = np.kron([[float(dot) for dot in row] for row in rows], np.ones((2, 2)))
    image = np.zeros((SIZE, SIZE), np.float32)
    image[12 : 12 + letter.shape[0], 14 : 14 + letter.shape[1]] = 0.8 * letter
    return np.asarray(gaussian_filter(image, 0.5))


def _tone(exposed: Image) -> npt.NDArray[np.uint16]:
    """Grey from attenuation, with the foot and the shoulder of a film."""
    square = np.square(np.maximum(exposed, 0))
    grey = square / (square + 0.16) * (1.20 * FULL_SCALE)
    return np.asarray(np.minimum(np.rint(grey), FULL_SCALE), dtype=np.uint16)
