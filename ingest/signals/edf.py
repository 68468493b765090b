"""EDF, EDF+ and BDF files: the header, and the first seconds of the leads that are wanted.

SOURCE: Kemp et al. 1992 and Kemp & Olivan 2003, the EDF and EDF+ specifications (edfplus.info/specs); BDF: biosemi.com,
"Which file format does BioSemi use". Read here rather than by a library because only the blocks that are needed may
cost time, in BDF too, and because what a library warns of (a file cut short) is refused.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from ingest.errors import InputError
from ingest.signals.signal import Lead, Recording, RecordingFacts, first_of_each, key_of, lead_name, ucum

EDF_MAGIC, BDF_MAGIC = b"0       ", b"\xffBIOSEMI"
MAX_SIGNALS = 1024
MAX_RECORD_BYTES = 1 << 26
_BLOCK = 256  # bytes: of the fixed header, and of each signal's
_WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)  # of the signals' fields, each field for all signals together
_ANNOTATIONS = {"EDF Annotations", "BDF Annotations"}
_INTERRUPTED = {b"EDF+D", b"BDF+D"}
_ONSET_ERROR_S = 1e-3  # by which a data record may start early or late


@dataclass(frozen=True)
class _Signal:
    """One signal of the header. place: where its samples start in a data record; count: how many it has there."""

    name: str
    unit: str
    physical: tuple[float, float]
    digital: tuple[int, int]
    place: int
    count: int


@dataclass(frozen=True)
class _Header:
    """What is known before the data. width: bytes of a sample; length: samples of a data record."""

    signals: tuple[_Signal, ...]
    annotations: _Signal | None
    start: int
    records: int
    record_s: float
    width: int
    length: int


def is_edf(head: bytes) -> bool:
    """Whether a file starts as EDF or BDF does, its start date included."""
    date = head[168:176]
    return head[:8] in (EDF_MAGIC, BDF_MAGIC) and len(date) == 8 and date[2:3] == date[5:6] == b"."


def edf_facts(path: Path) -> RecordingFacts:
    """What the header says. Raises InputError, one line, where it contradicts itself or the file's size."""
    header = _read_header(path)
    rates = [signal.count / header.record_s for signal in header.signals]
    names = tuple(signal.name for signal in header.signals)
    return RecordingFacts(names, max(rates), header.records * header.record_s)


def read_edf(path: Path, seconds: float | None, leads: Collection[str] | None) -> Recording:
    """The first `seconds` (all where None) of these leads (all where None). Raises InputError."""
    header = _read_header(path)
    wanted = None if leads is None else {key_of(lead) for lead in leads}
    records = header.records
    if seconds is not None:
        records = min(records, max(int(np.ceil(seconds / header.record_s - 1e-9)), 1))
    shape = (records, header.length * header.width)
    data = np.memmap(path, np.uint8, "r", header.start, shape)
    if header.annotations is not None:
        _check_continuous(path, header, data)
    taken = first_of_each(signal.name for signal in header.signals)
    chosen = [header.signals[i] for i in taken if wanted is None or key_of(header.signals[i].name) in wanted]
    found = [_lead(signal, data, header) for signal in chosen]
    return Recording(tuple(lead if seconds is None else lead.cut(seconds) for lead in found))


def _lead(signal: _Signal, data: NDArray[np.uint8], header: _Header) -> Lead:
    rate_hz = signal.count / header.record_s
    part = data[:, signal.place * header.width : (signal.place + signal.count) * header.width]
    digital = _integers(np.ascontiguousarray(part).reshape(-1, header.width))
    (low, high), (bottom, top) = signal.digital, signal.physical
    if low >= high or bottom == top:  # nothing says what a step of the recorder is worth
        return Lead(signal.name, digital.astype(np.float32), rate_hz, "")
    gain = (top - bottom) / (high - low)
    samples = ((digital - float(low)) * gain + bottom).astype(np.float32)
    return Lead(signal.name, samples, rate_hz, signal.unit, (min(bottom, top), max(bottom, top)))


def _integers(raw: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Little-endian two's complement of 2 or 3 bytes."""
    if raw.shape[1] == 2:
        return raw.view("<i2")[:, 0].astype(np.int32)
    padded = np.zeros((len(raw), 4), np.uint8)
    padded[:, 1:] = raw
    return padded.view("<i4")[:, 0] >> 8


def _read_header(path: Path) -> _Header:
    try:
        with path.open("rb") as file:
            fixed = file.read(_BLOCK)
            if not is_edf(fixed):
                _broken(path, "a header", "something else")
            count = _number(path, fixed[252:256], "number of signals", 1, MAX_SIGNALS)
            described = file.read(_BLOCK * int(count))
            size = file.seek(0, 2)
    except OSError as error:
        _broken(path, "a readable file", error.strerror or "an error")
    if len(described) < _BLOCK * int(count):
        _broken(path, "a header of all its signals", "a file cut short")
    width = 3 if fixed[:8] == BDF_MAGIC else 2
    signals = _signals(path, described, int(count))
    length = sum(signal.count for signal in signals)
    record_s = _number(path, fixed[244:252], "duration of a data record", 0, 1e6)
    if record_s <= 0:
        _broken(path, "data records that last some time", f"{record_s:g} s")
    if not 0 < length * width <= MAX_RECORD_BYTES:
        _broken(path, f"data records of at most {MAX_RECORD_BYTES:,} bytes", f"{length * width:,} bytes")
    start = _BLOCK * (1 + int(count))
    if _number(path, fixed[184:192], "bytes of the header", 0, 1e9) != start:
        _broken(path, f"a header of {start:,} bytes, as {int(count)} signals need", "another number")
    held = (size - start) // (length * width)
    stated = int(_number(path, fixed[236:244], "number of data records", -1, 1e8))
    if stated > held or held == 0:
        _broken(path, f"{stated:,} data records, as stated", f"{held:,}: the file is cut short")
    marks = [signal for signal in signals if signal.name in _ANNOTATIONS]
    kept = tuple(signal for signal in signals if signal.name not in _ANNOTATIONS)
    if not kept:
        _broken(path, "a signal", "annotations alone")
    if fixed[192:197] in _INTERRUPTED and not marks:
        _broken(path, "annotations that say when each data record starts", "none, in an interrupted recording (EDF+D)")
    return _Header(kept, marks[0] if marks else None, start, held if stated < 0 else stated, record_s, width, length)


def _signals(path: Path, described: bytes, count: int) -> list[_Signal]:
    fields, start = [], 0
    for width in _WIDTHS:
        block = described[start : start + width * count]
        fields.append([block[i * width : (i + 1) * width] for i in range(count)])
        start += width * count
    signals, place = [], 0
    for i in range(count):
        label, unit = (_text(fields[which][i]) for which in (0, 2))
        samples = int(_number(path, fields[8][i], "samples of a data record", 0, MAX_RECORD_BYTES))
        if label in _ANNOTATIONS:
            signals.append(_Signal(label, "", (0, 0), (0, 0), place, samples))
        elif samples:
            low, high = (_number(path, fields[f][i], "physical minimum or maximum", -1e12, 1e12) for f in (3, 4))
            bottom, top = (int(_number(path, fields[f][i], "digital minimum or maximum", -1e9, 1e9)) for f in (5, 6))
            signals.append(_Signal(lead_name(label), ucum(unit), (low, high), (bottom, top), place, samples))
        place += samples
    return signals


def _check_continuous(path: Path, header: _Header, data: NDArray[np.uint8]) -> None:
    """Refuse data records whose stated onsets are not one record apart: an interrupted recording, or a wrong rate."""
    mark = header.annotations
    assert mark is not None
    part = data[:, mark.place * header.width : (mark.place + mark.count) * header.width]
    first = 0.0
    for number, raw in enumerate(part):
        written = raw.tobytes().split(b"\x14", 1)[0].split(b"\x15", 1)[0]
        try:
            onset = float(written.decode("ascii"))
        except ValueError:
            _broken(path, f"the time at which data record {number + 1} starts", "none")
        first = onset if number == 0 else first
        if abs(onset - first - number * header.record_s) > _ONSET_ERROR_S:
            expected = f"{first + number * header.record_s:g} s"
            _broken(
                path, f"data record {number + 1} to start at {expected}", f"{onset:g} s", "interrupted or wrong rate"
            )


def _number(path: Path, raw: bytes, what: str, low: float, high: float) -> float:
    try:
        value = float(raw.decode("ascii"))
    except ValueError:
        _broken(path, f"a number as the {what}", "something else")
    if not low <= value <= high:
        _broken(path, f"a {what} from {low:g} to {high:g}", f"{value:g}")
    return value


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").strip(" \0")


def _broken(path: Path, expected: str, got: str, hint: str = "") -> NoReturn:
    raise InputError(str(path), field="EDF", expected=expected, got=got, hint=hint) from None
