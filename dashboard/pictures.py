"""Images, heat maps and weighted text: values to pixels and to HTML in which every character is escaped."""

import html
from collections.abc import Sequence

import numpy as np
from PIL import Image

from dashboard import words
from explain.explanation import Element

RAISES = (224, 112, 32)  # orange and blue: told apart with every common kind of colour blindness
LOWERS = (47, 125, 204)
STRONGEST = 0.78  # the opacity of the largest share


def grey(pixels: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 3) in [0, 1] as 8-bit RGB."""
    planes = np.repeat(pixels[..., None], 3, 2) if pixels.ndim == 2 else pixels
    return np.asarray(np.rint(255 * np.clip(planes, 0, 1)), np.uint8)


def heat_map(pixels: np.ndarray, grid: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """The image under a smooth map of its patches' shares (rows, columns): orange raises, blue lowers."""
    base = grey(pixels).astype(np.float32)
    largest = float(np.abs(grid).max()) if grid.size else 0.0
    if largest == 0:
        return base.astype(np.uint8)
    height, width = base.shape[:2]
    smooth = np.asarray(
        Image.fromarray(grid.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC), np.float32
    )
    opacity = strength * STRONGEST * np.clip(np.abs(smooth) / largest, 0, 1)[..., None]
    colour = np.where(smooth[..., None] > 0, np.array(RAISES, np.float32), np.array(LOWERS, np.float32))
    return np.asarray(np.clip(base * (1 - opacity) + colour * opacity, 0, 255), np.uint8)


def share_grid(patches: Sequence[Element], image: int) -> np.ndarray:
    """The shares of one image's patches (rows, columns) as they lie on it; (0, 0) where it was not explained.

    position: (row, column, rows, columns), with the image's number as a fifth where a case has several.
    """
    placed = [p for p in patches if len(p.position) == 4 or (len(p.position) == 5 and p.position[4] == image)]
    if not placed:
        return np.zeros((0, 0))
    grid = np.zeros((int(placed[0].position[2]), int(placed[0].position[3])))
    for patch in placed:
        grid[int(patch.position[0]), int(patch.position[1])] += patch.value
    return grid


def weighted_text(text: str, elements: Sequence[Element]) -> str:
    """The note as HTML: the words' shares as background colours, every character of the note escaped."""
    placed = sorted((e for e in elements if len(e.position) == 2), key=lambda e: e.position)
    largest = max((abs(e.value) for e in placed), default=0.0)
    parts, at = [], 0
    for element in placed:
        start, end = (int(place) for place in element.position)
        if start < at or end > len(text) or end <= start:
            continue
        parts.append(html.escape(text[at:start]))
        inside = html.escape(text[start:end])
        opacity = 0.7 * abs(element.value) / largest if largest else 0.0
        if opacity < 0.04:
            parts.append(inside)
        else:
            red, green, blue = RAISES if element.value > 0 else LOWERS
            said = html.escape(f"{words.signed(element.value)}: {words.direction(element.value)}", quote=True)
            style = f"background-color: rgba({red}, {green}, {blue}, {opacity:.2f})"
            parts.append(f'<span style="{style}" title="{said}">{inside}</span>')
        at = end
    parts.append(html.escape(text[at:]))
    return f'<div class="tt-note">{"".join(parts)}</div>'


def legend() -> str:
    """What the two colours mean, as HTML."""
    return "".join(
        f'<span class="tt-legend" style="margin-right: 1.2em"><span class="tt-swatch" '
        f'style="background: rgb{colour}"></span>{said}</span>'
        for colour, said in ((RAISES, "raises the model's risk"), (LOWERS, "lowers the model's risk"))
    )


def strongest(grid: np.ndarray) -> float:
    """The share of the largest size, with its sign."""
    return float(grid.flat[int(np.abs(grid).argmax())])
