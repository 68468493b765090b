"""Pictures and sounds without what their files say besides: the samples and pixels stay, metadata goes."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ingest.account.quarantine import Refusal
from ingest.files import replacing_file
from ingest.pictures.files import count_pages, displayed_picture, open_picture
from ingest.privacy.burned_in import has_text
from ingest.privacy.dicom_files import MAX_FRAMES_SEEN, Box, Review

if TYPE_CHECKING:
    from PIL import Image

PICTURE_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "TIFF": ".tif"}
_ORIENTATION = 0x0112  # Exif 2.3
SOUND_SUFFIXES = {"WAV": ".wav", "WAVEX": ".wav", "FLAC": ".flac"}


def picture_suffix(path: Path) -> str:
    """The suffix of a picture's format. JPEG pictures that are masked become PNG."""
    with open_picture(path) as picture:
        return PICTURE_SUFFIXES[str(picture.format)]


def held_picture(path: Path) -> str:
    """Why a person has to look at a picture first; empty where nothing asks for it."""
    total = count_pages(path)
    for page in sorted({round(place) for place in np.linspace(0, total - 1, min(total, MAX_FRAMES_SEEN))}):
        if has_text(displayed_picture(path, page)):
            return f"what looks like text in frame {page + 1} of {total}"
    return ""


def write_picture(path: Path, out: Path, review: Review | None) -> None:
    """Write a picture's pixels alone. A JPEG keeps its coefficients as they are; its other segments are left out."""
    boxes = review.boxes if review else ()
    with replacing_file(out) as temporary, open_picture(path) as picture:
        if picture.format == "JPEG" and not boxes:
            temporary.write_bytes(_plain_jpeg(path.read_bytes(), picture.getexif().get(_ORIENTATION, 1)))
            return
        pages = []
        for page in range(count_pages(path)):
            picture.seek(page)
            pages.append(_blank(picture, boxes))
        form = "PNG" if picture.format == "JPEG" else str(picture.format)
        stream = io.BytesIO()
        options = {"save_all": True, "append_images": pages[1:], "compression": "tiff_deflate"}
        pages[0].save(stream, form, **(options if form == "TIFF" else {}))
        temporary.write_bytes(stream.getvalue())


def write_sound(path: Path, out: Path) -> None:
    """Write a sound's samples alone, in the same format and encoding."""
    import soundfile

    with soundfile.SoundFile(path) as file:
        if file.format not in SOUND_SUFFIXES:
            raise Refusal("", "a WAV or FLAC file", f"not de-identified automatically: {file.format}")
        form, subtype, rate = file.format, file.subtype, file.samplerate
        kind = "float64" if subtype in ("FLOAT", "DOUBLE") else "int32"
        samples = file.read(dtype=kind, always_2d=True)
    with replacing_file(out) as temporary:
        stream = io.BytesIO()
        with soundfile.SoundFile(stream, "w", rate, samples.shape[1], subtype=subtype, format=form) as written:
            written.write(samples)
        temporary.write_bytes(stream.getvalue())


def sound_suffix(path: Path) -> str:
    """The suffix of a sound's format. Raises Refusal for one that is not written."""
    import soundfile

    form = soundfile.info(path).format
    if form not in SOUND_SUFFIXES:
        raise Refusal("", "a WAV or FLAC file", f"not de-identified automatically: {form}")
    return SOUND_SUFFIXES[form]


def _blank(picture: "Image.Image", boxes: tuple[Box, ...]) -> "Image.Image":
    """A page as a new picture, which carries nothing but its pixels, with the boxes blank."""
    from PIL import Image, ImageOps

    values = np.array(ImageOps.exif_transpose(picture))
    for x0, y0, x1, y1 in boxes:
        if not (0 <= x0 < x1 <= values.shape[1] and 0 <= y0 < y1 <= values.shape[0]):
            raise Refusal("mask", f"a box inside {values.shape[1]} x {values.shape[0]} pixels", f"{x0} {y0} {x1} {y1}")
        values[y0:y1, x0:x1] = 0
    made = Image.fromarray(values)
    palette = picture.getpalette() if picture.mode == "P" else None
    if palette:
        made.putpalette(palette)
    return made


def _plain_jpeg(content: bytes, orientation: int) -> bytes:
    """A JPEG stream without comments and application data but JFIF's and Adobe's, and without bytes after its end.

    ITU-T T.81, annex B: segments before the first scan are copied or left out, what follows is copied to the marker
    that ends the picture.
    """
    from PIL import Image

    kept, place = bytearray(content[:2]), 2
    if orientation in range(2, 9):  # which way up it is to be shown, and nothing else
        exif = Image.Exif()
        exif[_ORIENTATION] = orientation
        told = exif.tobytes()
        kept += b"\xff\xe1" + (len(told) + 2).to_bytes(2, "big") + told
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if not (marker == 0xFE or (0xE1 <= marker <= 0xEF and marker != 0xEE)):
            kept += content[place:end]
        place = end
        if marker == 0xDA:
            break
    return bytes(kept) + _scans(content, place)


def _scans(content: bytes, place: int) -> bytes:
    """What follows the first start of scan, to the end of the picture; segments between scans are looked at too."""
    kept, start = bytearray(), place
    while (at := content.find(b"\xff", place)) >= 0 and at + 1 < len(content):
        marker = content[at + 1]
        if marker == 0xD9:
            return bytes(kept) + content[start : at + 2]
        if marker in (0x00, 0xFF) or 0xD0 <= marker <= 0xD7:
            place = at + (1 if marker == 0xFF else 2)
            continue
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == 0xFE or 0xE0 <= marker <= 0xEF:
            kept += content[start:at]
            start = end
        place = end
    return bytes(kept) + content[start:]
