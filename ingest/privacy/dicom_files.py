"""DICOM files without what says who they are of: read within bounds, looked at for writing, written anew.

What is written is the data set and the pixels, nothing else: no preamble, no padding, no bytes after the end. Pixels
stay as they are stored; what a JPEG stream carries beside its picture (comments, Exif) is blanked byte for byte.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.account.quarantine import Refusal
from ingest.dicom.display import displayed_frame
from ingest.dicom.header import DicomFile, dicom_errors, open_dicom
from ingest.dicom.kinds import is_waveform, no_image, sop_class
from ingest.dicom.pixels import decoded, located, missing_decoder, number_of_frames, syntax_name
from ingest.errors import InputError
from ingest.files import replacing_file
from ingest.privacy.burned_in import has_text, header_reason
from ingest.privacy.dicom import Person, deidentify
from ingest.privacy.keys import Keys

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

IMPLEMENTATION = "2.25.209741836495267158372340918265341120457"
MAX_FRAMES_SEEN = 8
MAX_PIXEL_BYTES = 1 << 31
_CLEAN_PIXELS = ("113101", "Clean Pixel Data Option")
Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, the last excluded
Whose = Callable[["Dataset"], Person]


@dataclass(frozen=True)
class Review:
    """What a person who has looked at an image said: it may go, after these boxes were blanked."""

    boxes: tuple[Box, ...] = ()


def write_without_person(
    path: Path, out: Callable[["Dataset"], Path], whose: Whose, keys: Keys, review: Review | None
) -> str:
    """Write a file's de-identified form to where `out` says; or, where it shows writing, only say why it is held.

    Raises Refusal or InputError: an object that is no image or recording, or that is broken.
    """
    with open_dicom(path) as opened:
        dataset = opened.dataset
        try:
            is_image = _check_kind(opened)
            if is_image and review is None and (reason := _held_for(opened)):
                return reason
            person = whose(dataset)
            pixels = _pixels(opened) if is_image else None
            boxes = review.boxes if review else ()
            if boxes and is_image:
                pixels = _masked(opened, boxes)
            target = out(dataset)
            deidentify(dataset, person, keys, (_CLEAN_PIXELS,) if boxes else ())
            _write(opened, target, pixels, plain=bool(boxes))
        except dicom_errors() as error:
            raise Refusal(
                "", f"a sound {sop_class(dataset)}", f"an element that cannot be read ({type(error).__name__})"
            ) from None
    return ""


def _check_kind(opened: DicomFile) -> bool:
    """Whether it is an image; else it is a recording. Raises Refusal for anything else."""
    dataset = opened.dataset
    if "DirectoryRecordSequence" in dataset:
        raise Refusal("SOP Class UID", "an image or a recording", "not de-identified automatically: a directory")
    if not is_waveform(dataset) and no_image(dataset, has_pixels=opened.pixels is not None):
        raise Refusal(
            "SOP Class UID", "an image or a recording", f"not de-identified automatically: {sop_class(dataset)}"
        )
    if not str(dataset.get("SOPInstanceUID", "")).strip():
        raise Refusal("SOP Instance UID", "a UID", "none")
    return not is_waveform(dataset)


def _held_for(opened: DicomFile) -> str:
    """Why a person has to look at the pixels first; empty where nothing asks for it."""
    if reason := header_reason(opened.dataset):
        return reason
    if missing := missing_decoder(opened):
        return f"pixels that cannot be looked at: {syntax_name(opened)} needs {missing}"
    for tag in list(opened.dataset.keys()):
        if tag.group & 0xFF00 == 0x6000 and tag.element == 0x0102 and int(opened.dataset[tag].value or 0):
            return "an overlay in the unused bits of the pixels"
    located(opened)
    total = number_of_frames(opened)
    for frame in sorted({round(place) for place in np.linspace(0, total - 1, min(total, MAX_FRAMES_SEEN))}):
        if has_text(displayed_frame(opened.path, frame)):
            return f"what looks like text in frame {frame + 1} of {total}"
    return ""


def _pixels(opened: DicomFile) -> bytes:
    """The pixel element's value as stored: of plain pixels exactly what the header speaks of."""
    pixels = located(opened)
    opened.stream.seek(pixels.start)
    if opened.transfer_syntax.is_encapsulated:
        from pydicom.fileutil import read_undefined_length_value
        from pydicom.tag import SequenceDelimiterTag

        little = opened.is_little_endian
        whole = read_undefined_length_value(opened.stream, little, SequenceDelimiterTag)
        if whole is None:
            raise InputError(
                str(opened.path), field="Pixel Data", expected="frames to their end", got="a file cut short"
            )
        return without_comments(whole)
    size = _plain_size(opened)
    if size > MAX_PIXEL_BYTES:
        raise InputError(
            str(opened.path), field="Pixel Data", expected=f"at most {MAX_PIXEL_BYTES:,} bytes", got="more"
        )
    value = opened.stream.read(min(size, pixels.length))
    return value + b"\0" * (len(value) % 2)


def _plain_size(opened: DicomFile) -> int:
    header = opened.dataset
    bits = int(header.Rows) * int(header.Columns) * int(header.get("SamplesPerPixel") or 1) * int(header.BitsAllocated)
    if str(header.get("PhotometricInterpretation", "")).strip() == "YBR_FULL_422":
        bits = bits * 2 // 3
    return -(-bits * number_of_frames(opened) // 8)


def without_comments(fragments: bytes) -> bytes:
    """Encapsulated pixels (PS3.5 A.4) whose JPEG streams' comments and application data are zeros, nothing moved.

    JFIF (APP0), Adobe's transform (APP14) and JPEG-LS' presets stay, since they say how to decode.
    """
    value = bytearray(fragments)
    place = 0
    while place + 8 <= len(value) and value[place : place + 4] == b"\xfe\xff\x00\xe0":
        length = int.from_bytes(value[place + 4 : place + 8], "little")
        start, end = place + 8, min(place + 8 + length, len(value))
        if value[start : start + 2] == b"\xff\xd8":
            _blank_segments(value, start + 2, end)
        elif value[start : start + 4] == b"\xff\x4f\xff\x51":
            _blank_segments(value, start + 2, end, comment=0x64, data=())
        place = end
    return bytes(value)


def _blank_segments(
    value: bytearray, place: int, end: int, comment: int = 0xFE, data: Sequence[int] = range(0xE1, 0xF0)
) -> None:
    """Zero the content of comment and application segments before the first scan."""
    while place + 4 <= end and value[place] == 0xFF:
        marker = value[place + 1]
        if marker in (0xDA, 0x90, 0x93):  # start of scan; of tile part; of data
            return
        length = int.from_bytes(value[place + 2 : place + 4], "big")
        if marker == comment or (marker in data and marker != 0xEE):
            stop = min(place + 2 + length, end)
            value[place + 4 : stop] = bytes(stop - place - 4)
        place += 2 + length


def _masked(opened: DicomFile, boxes: Sequence[Box]) -> bytes:
    """All frames decoded, with the boxes blank in each; the header is made to say what they are now."""
    import pydicom.pixels.utils as utils  # noqa: F401 - decoders register themselves here

    stored = decoded(opened, None)
    header = opened.dataset
    samples = int(header.get("SamplesPerPixel") or 1)
    frames = stored.reshape(number_of_frames(opened), int(header.Rows), int(header.Columns), samples).copy()
    for x0, y0, x1, y1 in boxes:
        if not (0 <= x0 < x1 <= frames.shape[2] and 0 <= y0 < y1 <= frames.shape[1]):
            raise Refusal("mask", f"a box inside {frames.shape[2]} x {frames.shape[1]} pixels", f"{x0} {y0} {x1} {y1}")
        frames[:, y0:y1, x0:x1] = 0
    if samples > 1:
        header.PlanarConfiguration = 0
        if str(header.PhotometricInterpretation).startswith("YBR"):
            header.PhotometricInterpretation = "RGB"
    value = _little(frames).tobytes()
    return value + b"\0" * (len(value) % 2)


def _little(values: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    return values.astype(values.dtype.newbyteorder("<"))


def _write(opened: DicomFile, target: Path, pixels: bytes | None, *, plain: bool) -> None:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    dataset = opened.dataset
    syntax = ExplicitVRLittleEndian if plain else opened.transfer_syntax
    if pixels is not None:
        assert opened.pixels is not None
        wide = int(dataset.get("BitsAllocated") or 8) > 8
        vr = {"FloatPixelData": "OF", "DoubleFloatPixelData": "OD"}.get(opened.pixels.keyword)
        dataset.add_new(opened.pixels.keyword, vr or ("OB" if syntax.is_encapsulated or not wide else "OW"), pixels)
        dataset[opened.pixels.keyword].is_undefined_length = syntax.is_encapsulated
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID, meta.ImplementationVersionName = UID(IMPLEMENTATION), "TELLTALE"
    dataset.file_meta, dataset.preamble = meta, b"\0" * 128
    whole = io.BytesIO()
    dataset.save_as(whole, enforce_file_format=True, overwrite=True)
    with replacing_file(target) as temporary:
        temporary.write_bytes(whole.getvalue())
