"""WFDB records: a header (.hea), and the signal files that it names, which lie beside it.

SOURCE: Moody, "WFDB Applications Guide", header(5) and signal(5) (physionet.org/physiotools/wag). Read here rather than
by a library: a header comes from strangers, and may name any file; what is read is bounded, and in one folder.
"""

import hashlib
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ingest.errors import InputError
from ingest.files import sha256_of
from ingest.signals.signal import Lead, Recording, RecordingFacts, first_of_each, key_of, lead_name, ucum

SUFFIX = ".hea"
MAX_HEADER_BYTES = 1 << 20
MAX_SIGNALS = 1024
MAX_LINE = 1024
_RECORD = re.compile(
    r"(?P<name>[^\s/]+)(?P<segments>/\d+)?\s+(?P<signals>\d{1,9})"
    r"(?:\s+(?P<rate>[\d.eE+-]{1,30})\S*(?:\s+(?P<length>\d{1,15}))?.*)?"
)
_SIGNAL = re.compile(
    r"(?P<file>\S+)\s+(?P<format>\d{1,5})(?:x(?P<per_frame>\d{1,5}))?(?::(?P<skew>\d{1,9}))?(?:\+(?P<offset>\d{1,15}))?"
    r"(?:\s+(?P<gain>[\d.eE+-]{1,30})(?:\((?P<baseline>-?\d{1,10})\))?(?:/(?P<unit>\S+))?"
    r"(?:\s+(?P<bits>\d{1,3})(?:\s+(?P<zero>-?\d{1,10})(?:\s+-?\d+(?:\s+-?\d+(?:\s+\d+(?:\s+(?P<name>.*))?)?)?)?)?)?)?\s*"
)


@dataclass(frozen=True)
class _Signal:
    """A line of the header. gain: recorder's steps in one unit, 0 where it is not calibrated."""

    name: str
    file: Path
    format: int
    per_frame: int
    skew: int
    offset: int
    gain: float
    baseline: int
    unit: str
    bits: int
    zero: int


@dataclass(frozen=True)
class _Header:
    """frames: how many there are; rate_hz: frames in a second."""

    signals: tuple[_Signal, ...]
    rate_hz: float
    frames: int


def is_wfdb(path: Path, head: bytes) -> bool:
    """Whether a file is a WFDB header: by its suffix and its first line."""
    return path.suffix == SUFFIX and b"\0" not in head and _first_line(head.decode("latin-1")) is not None


def wfdb_facts(path: Path) -> RecordingFacts:
    """What the header says. Raises InputError, one line, where it contradicts itself or its files' sizes."""
    header = _read_header(path)
    rates = [header.rate_hz * signal.per_frame for signal in header.signals]
    return RecordingFacts(tuple(s.name for s in header.signals), max(rates), header.frames / header.rate_hz)


def signal_files(path: Path) -> list[Path]:
    """The files that a header names, in its order. Raises InputError where one is not beside it."""
    return list(dict.fromkeys(signal.file for signal in _parse(path)[0]))


def wfdb_sha256(path: Path) -> str:
    """One digest for the record: SHA-256 of the hexadecimal digests of the header and of its files, in order."""
    digests = [sha256_of(file) for file in (path, *signal_files(path))]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def read_wfdb(path: Path, seconds: float | None, leads: Collection[str] | None) -> Recording:
    """The first `seconds` (all where None) of these leads (all where None). Raises InputError."""
    header = _read_header(path)
    wanted = None if leads is None else {key_of(lead) for lead in leads}
    frames = header.frames
    if seconds is not None:
        frames = min(frames, int(np.ceil(seconds * header.rate_hz)))
    taken = first_of_each(signal.name for signal in header.signals)
    chosen = [header.signals[i] for i in taken if wanted is None or key_of(header.signals[i].name) in wanted]
    raw = {file: _read_file(header, file, frames) for file in dict.fromkeys(signal.file for signal in chosen)}
    return Recording(tuple(_lead(header, signal, raw[signal.file], frames) for signal in chosen))


def _lead(header: _Header, signal: _Signal, raw: NDArray[np.int32], frames: int) -> Lead:
    """raw (frames, samples of a frame): the file that the signal is in."""
    place = 0
    for other in header.signals:
        if other is signal:
            break
        place += other.per_frame * (other.file == signal.file)
    steps = raw[signal.skew : signal.skew + frames, place : place + signal.per_frame].reshape(-1)
    rate_hz = header.rate_hz * signal.per_frame
    missing = steps == FORMATS[signal.format].missing
    gain = signal.gain or 1.0
    samples = ((steps - float(signal.baseline)) / gain).astype(np.float32)
    samples[missing] = np.nan
    if not signal.gain:
        return Lead(signal.name, samples, rate_hz, "")
    low, high = FORMATS[signal.format].missing + 1, -FORMATS[signal.format].missing - 1
    if signal.bits:
        low, high = signal.zero - 2 ** (signal.bits - 1), signal.zero + 2 ** (signal.bits - 1) - 1
    rails = sorted((step - signal.baseline) / gain for step in (low, high))
    return Lead(signal.name, samples, rate_hz, signal.unit, (rails[0], rails[1]))


def _read_file(header: _Header, file: Path, frames: int) -> NDArray[np.int32]:
    """(frames and the skew, samples of a frame) of one signal file."""
    inside = [signal for signal in header.signals if signal.file == file]
    width = sum(signal.per_frame for signal in inside)
    frames = min(frames + max(signal.skew for signal in inside), header.frames)
    kind = FORMATS[inside[0].format]
    with file.open("rb") as stream:
        stream.seek(inside[0].offset)
        raw = np.frombuffer(stream.read(kind.bytes_of(frames * width)), np.uint8)
    return kind.decode(raw, frames * width).astype(np.int32).reshape(frames, width)


def _read_header(path: Path) -> _Header:
    signals, rate_hz, stated = _parse(path)
    if not 0 < rate_hz <= 1e6:
        _broken(path, "sampling frequency", "above 0 and at most 1 MHz", f"{rate_hz:g} Hz")
    held = min(_frames_in(path, signals, file) for file in dict.fromkeys(signal.file for signal in signals))
    if stated > held or held == 0:
        _broken(path, "number of samples", f"{stated:,}, as stated", f"{held:,}: the signal file is cut short")
    return _Header(signals, rate_hz, stated or held)


def _frames_in(path: Path, signals: tuple[_Signal, ...], file: Path) -> int:
    inside = [signal for signal in signals if signal.file == file]
    if len({(signal.format, signal.offset) for signal in inside}) > 1:
        _broken(path, "format", "one format for the signals of a file", "several")
    size = max(file.stat().st_size - inside[0].offset, 0)
    return FORMATS[inside[0].format].samples_of(size) // sum(signal.per_frame for signal in inside)


def _parse(path: Path) -> tuple[tuple[_Signal, ...], float, int]:
    """(signals, rate in hertz, stated samples of each; 0 where it does not say)."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_HEADER_BYTES + 1)
    except OSError as error:
        _broken(path, "", "a readable file", error.strerror or "an error")
    if len(raw) > MAX_HEADER_BYTES:
        _broken(path, "", f"at most {MAX_HEADER_BYTES:,} bytes", "more")
    lines = [line for line in raw.decode("latin-1").splitlines() if line.strip() and not line.startswith("#")]
    if any(len(line) > MAX_LINE for line in lines):
        _broken(path, "", f"lines of at most {MAX_LINE} characters", "a longer one")
    record = _first_line(raw.decode("latin-1"))
    if record is None:
        _broken(path, "record line", "name, number of signals and sampling frequency", "something else")
    if record["segments"]:
        _broken(path, "segments", "a record of one segment", "several", "give its segments one by one")
    if not record["rate"]:
        _broken(path, "sampling frequency", "a number of hertz", "none")
    count = int(record["signals"])
    if not 0 < count <= min(MAX_SIGNALS, len(lines) - 1):
        _broken(path, "signals", f"1 to {MAX_SIGNALS}, a line each", f"{count} and {len(lines) - 1} lines")
    signals = tuple(_signal(path, number, line) for number, line in enumerate(lines[1 : count + 1], 1))
    return signals, _float(path, record["rate"]), int(record["length"] or 0)


def _first_line(text: str) -> re.Match[str] | None:
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return _RECORD.fullmatch(next(lines, "").strip()[: MAX_LINE + 1])


def _signal(path: Path, number: int, line: str) -> _Signal:
    found = _SIGNAL.fullmatch(line)
    where = f"signal {number}"
    if found is None:
        _broken(path, where, "file, format and gain as header(5) describes them", "something else")
    if int(found["format"]) not in FORMATS:
        known = ", ".join(map(str, FORMATS))
        _broken(path, where, f"format {known}", f"format {found['format']}", "convert it with xform or wrsamp")
    gain = _float(path, found["gain"] or "0")
    zero = int(found["zero"] or 0)
    unit = ucum(found["unit"] or "mV") if gain else ""  # header(5): millivolts unless stated
    bits = int(found["bits"] or 0)
    return _Signal(
        name=lead_name(found["name"] or where),
        file=_beside(path, found["file"]),
        format=int(found["format"]),
        per_frame=min(max(int(found["per_frame"] or 1), 1), 1 << 16),
        skew=int(found["skew"] or 0),
        offset=int(found["offset"] or 0),
        gain=gain,
        baseline=int(found["baseline"]) if found["baseline"] else zero,
        unit=unit,
        bits=bits if bits <= 32 else 0,
        zero=zero,
    )


def _beside(path: Path, name: str) -> Path:
    """The signal file of this name in the header's own folder. The name is not shown: it may be a person's."""
    folder = path.resolve().parent
    file = (folder / name).resolve()
    if "/" in name or "\\" in name or file.parent != folder or file == path.resolve():
        _broken(path, "signal file", "a file beside the header", "a path that leads elsewhere")
    if not file.is_file():
        _broken(path, "signal file", "a file beside the header", "none of that name")
    return file


def _float(path: Path, written: str) -> float:
    try:
        return float(written)
    except ValueError:
        _broken(path, "", "a number", "something else")


def _broken(path: Path, field: str, expected: str, got: str, hint: str = "") -> NoReturn:
    raise InputError(str(path), field=f"WFDB {field}".strip(), expected=expected, got=got, hint=hint) from None


@dataclass(frozen=True)
class _Format:
    """How samples lie in bytes: `group` samples in `size` bytes. missing: the number that stands for none.

    partial: how many samples 0, 1, ... bytes of a last group hold that is cut.
    """

    group: int
    size: int
    missing: int
    read: Callable[[NDArray[np.uint8]], NDArray[np.integer]]
    partial: tuple[int, ...] = (0, 0, 0, 0)

    def samples_of(self, size: int) -> int:
        """How many samples so many bytes hold; a last group may be cut where its samples are whole."""
        return size // self.size * self.group + self.partial[size % self.size]

    def bytes_of(self, samples: int) -> int:
        """The whole groups that so many samples need."""
        return -(-samples // self.group) * self.size

    def decode(self, raw: NDArray[np.uint8], samples: int) -> NDArray[np.integer]:
        """The first `samples`."""
        groups = -(-samples // self.group)
        padded = np.zeros(groups * self.size, np.uint8)
        padded[: len(raw)] = raw
        return self.read(padded)[:samples]


def _pairs_of_12_bits(raw: NDArray[np.uint8]) -> NDArray[np.integer]:
    """Format 212: two samples of 12 bits in three bytes."""
    first, middle, last = raw[0::3].astype(np.int32), raw[1::3].astype(np.int32), raw[2::3].astype(np.int32)
    pairs = np.stack([first | (middle & 0x0F) << 8, last | (middle & 0xF0) << 4], 1).reshape(-1)
    return np.asarray(pairs - 4096 * (pairs > 2047), np.int32)


def _threes_of_10_bits(*samples: NDArray[Any]) -> NDArray[np.integer]:
    threes = np.stack(samples, 1).reshape(-1) & 0x3FF
    return np.asarray(threes - 1024 * (threes > 511), np.int32)


def _format_310(raw: NDArray[np.uint8]) -> NDArray[np.integer]:
    """Three samples of 10 bits in two words of 16: the third is in their highest five bits."""
    low, high = raw.view("<u2").astype(np.int32).reshape(-1, 2).T
    return _threes_of_10_bits(low >> 1, high >> 1, (low >> 11) | (high >> 11) << 5)


def _format_311(raw: NDArray[np.uint8]) -> NDArray[np.integer]:
    """Three samples of 10 bits in a word of 32, one above the other."""
    word = raw.view("<u4").astype(np.int64)
    return _threes_of_10_bits(word & 0x3FF, word >> 10 & 0x3FF, word >> 20 & 0x3FF)


def _of_24_bits(raw: NDArray[np.uint8]) -> NDArray[np.integer]:
    padded = np.zeros((len(raw) // 3, 4), np.uint8)
    padded[:, 1:] = raw.reshape(-1, 3)
    shifted: NDArray[np.integer] = padded.view("<i4")[:, 0] >> 8
    return shifted


FORMATS = {
    16: _Format(1, 2, -(2**15), lambda raw: raw.view("<i2")),
    24: _Format(1, 3, -(2**23), _of_24_bits),
    32: _Format(1, 4, -(2**31), lambda raw: raw.view("<i4")),
    61: _Format(1, 2, -(2**15), lambda raw: raw.view(">i2")),
    80: _Format(1, 1, -(2**7), lambda raw: raw.astype(np.int32) - 128),
    160: _Format(1, 2, -(2**15), lambda raw: raw.view("<u2").astype(np.int32) - 32768),
    212: _Format(2, 3, -(2**11), _pairs_of_12_bits, (0, 0, 1)),
    310: _Format(3, 4, -(2**9), _format_310, (0, 0, 1, 1)),
    311: _Format(3, 4, -(2**9), _format_311, (0, 0, 1, 2)),
}
