"""Sound files: WAV, FLAC, OGG (Vorbis, Opus), MP3 and AIFF, as libsndfile decodes them."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from numpy.typing import NDArray

from ingest.errors import InputError
from ingest.signals.signal import RecordingFacts

if TYPE_CHECKING:
    from soundfile import SoundFile

MAX_SAMPLES = 1 << 28  # all channels together: 90 minutes of stereo at 24 kHz
MAX_RATE_HZ = 768_000
MAX_CHANNELS = 256
FORMATS = {"WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF"}
_UNKNOWN_LENGTH = 0xFFFFFFFF  # what a recorder writes that could not go back to say how long it was
_TAIL = 1 << 16  # bytes in which the last page of an OGG file lies: a page has at most 65,307 (RFC 3533)


def is_sound(head: bytes) -> bool:
    """Whether a file starts as one of these formats does."""
    return (
        (head[:4] in {b"RIFF", b"RF64"} and head[8:12] == b"WAVE")
        or head[:4] in {b"fLaC", b"OggS"}
        or (head[:4] == b"FORM" and head[8:12] in {b"AIFF", b"AIFC"})
        or head[:3] == b"ID3"
        or _is_mpeg_frame(head)
    )


def check_sound(path: Path) -> RecordingFacts:
    """What the header says. Raises InputError where the file is no sound of a bearable length, or is cut short."""
    with _opened(path) as file:
        if file.seekable():
            file.seek(file.frames - 1)
            if len(file.read(1, "float32", always_2d=True)) != 1:
                _refuse(path, f"{file.frames:,} frames as stated, and data that end before")
        return RecordingFacts(_names(file.channels), file.samplerate, file.frames / file.samplerate)


def read_channels(path: Path, seconds: float | None = None) -> tuple[NDArray[np.float32], int]:
    """(samples (T, channels), 1 is full scale, rate in hertz): the first `seconds`, or all. Raises InputError."""
    with _opened(path) as file:
        frames = file.frames if seconds is None else min(int(np.ceil(seconds * file.samplerate)), file.frames)
        samples = file.read(frames, "float32", always_2d=True)
        if len(samples) < frames:
            _refuse(path, f"{file.frames:,} frames as stated, and data that end before")
        if not np.isfinite(samples).all():
            _refuse(path, "samples that are no numbers (NaN or infinite)")
        return samples, int(file.samplerate)


def read_sound(path: Path, seconds: float | None = None) -> tuple[NDArray[np.float32], int]:
    """(samples (T,) in [-1, 1], rate in hertz); several channels become their mean. Raises InputError, one line."""
    samples, rate_hz = read_channels(path, seconds)
    return np.clip(samples.mean(axis=1, dtype=np.float32), -1.0, 1.0), rate_hz


@contextmanager
def _opened(path: Path) -> Iterator["SoundFile"]:
    import soundfile

    if not path.is_file():
        _refuse(path, "nothing of that name")
    try:
        _check_container(path)
        with soundfile.SoundFile(path) as file:
            if file.format not in FORMATS:
                _refuse(path, f"format {file.format}")
            if not 0 < file.frames * file.channels <= MAX_SAMPLES or file.channels > MAX_CHANNELS:
                _refuse(path, f"{file.frames} frames of {file.channels} channels")
            if not 0 < file.samplerate <= MAX_RATE_HZ:
                _refuse(path, f"a rate of {file.samplerate} Hz")
            yield file
    except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError, TypeError, MemoryError, struct.error):
        _refuse(path, "a header or data that do not decode")


def _check_container(path: Path) -> None:
    """What libsndfile lets pass: a WAV or OGG file that ends too early, and a WAV whose rate contradicts itself."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF" and head[8:] == b"WAVE":
            _check_riff(path, file.read(1 << 16), size)
        elif head[:4] == b"FORM" and int.from_bytes(head[4:8], "big") + 8 > size:
            _refuse(path, "a length as stated, and a file cut short")
        elif head[:4] == b"RF64":  # EBU Tech 3306: the true length is in the chunk that follows
            sizes = file.read(16)
            if sizes[:4] == b"ds64" and int.from_bytes(sizes[8:], "little") + 8 > size:
                _refuse(path, "a length as stated, and a file cut short")
        elif head[:4] == b"OggS":
            file.seek(max(size - _TAIL, 0))
            tail = file.read()
            last = tail.rfind(b"OggS")
            ended = last >= 0 and len(tail) > last + 5 and tail[last + 5] & 4  # RFC 3533, section 6: end of stream
            if not ended:
                _refuse(path, "an OGG stream without its end: the file is cut short")


def _check_riff(path: Path, chunks: bytes, size: int) -> None:
    """chunks: what follows the RIFF header; only those before the samples are looked at."""
    place = 0
    while place + 8 <= len(chunks):
        name, length = chunks[place : place + 4], struct.unpack_from("<I", chunks, place + 4)[0]
        if name == b"data":
            if length not in (0, _UNKNOWN_LENGTH) and 12 + place + 8 + length > size:
                _refuse(path, f"{length:,} bytes of samples as stated, and a file cut short")
            return
        if name == b"fmt " and length >= 16:
            tag, channels, rate_hz, per_second, block, bits = struct.unpack_from("<HHIIHH", chunks, place + 8)
            plain = tag in (1, 3) and bits  # PCM and float: others are compressed, and their rate is a mean
            if plain and (block != channels * -(-bits // 8) or per_second != rate_hz * block):
                _refuse(path, f"a rate of {rate_hz} Hz, and {per_second} bytes a second that contradict it")
        place += 8 + length + length % 2


def _is_mpeg_frame(head: bytes) -> bool:
    """Whether it is the header of an MPEG audio frame of layer III, with a bit rate and a sample rate that exist."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return False
    return head[1] & 0x18 != 0x08 and 0 < head[2] >> 4 < 15 and head[2] & 0x0C != 0x0C


def _names(channels: int) -> tuple[str, ...]:
    return tuple(f"channel {number + 1}" for number in range(channels))


def _refuse(path: Path, got: str) -> NoReturn:
    expected = f"a WAV, FLAC, OGG, MP3 or AIFF file of 1 to {MAX_SAMPLES:,} samples"
    raise InputError(str(path), expected=expected, got=got) from None
