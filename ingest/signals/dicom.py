"""DICOM waveform objects: electrocardiograms, pressures, sounds (PS3.3 C.10.9)."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from numpy.typing import NDArray

from ingest.errors import InputError
from ingest.signals.signal import Lead, Recording, RecordingFacts, key_of, lead_name, ucum

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAX_FILE_BYTES = 1 << 28
MAX_CHANNELS = 1024
MAX_OFFSET_S = 86_400.0
# Channel sources that are leads of an electrocardiogram: the last part of their code in the schemes MDC ("2:1") and
# SCPECG ("5.6.3-9-1") of DICOM PS3.16 CID 3001.
_LEAD_CODE = re.compile(r"(?:2:|5\.6\.3-9-)(\d+)")
_LEADS = {
    "1": "I", "2": "II", "61": "III", "62": "aVR", "63": "aVL", "64": "aVF",
    "3": "V1", "4": "V2", "5": "V3", "6": "V4", "7": "V5", "8": "V6",
}  # fmt: skip
# (bits allocated, sample interpretation) -> type: PS3.3 C.10.9.1.5. The companded ones (MB, AB) are not read.
_TYPES = {(8, "SB"): "i1", (8, "UB"): "u1", (16, "SS"): "i2", (16, "US"): "u2", (32, "SL"): "i4", (32, "UL"): "u4"}


def dicom_facts(path: Path) -> RecordingFacts:
    """What its multiplex groups say. Raises InputError, one line."""
    groups, _ = _groups(path)
    names: dict[str, None] = {}
    with _guarded(path):
        for group in groups:
            names.update(dict.fromkeys(_names(group)))
    rates = [_rate(path, group) for group in groups]
    lengths = [int(group.NumberOfWaveformSamples) / rate for group, rate in zip(groups, rates, strict=True)]
    return RecordingFacts(tuple(names), max(rates), max(lengths))


def read_dicom_waveform(path: Path, seconds: float | None, leads: Collection[str] | None) -> Recording:
    """The first `seconds` (all where None) of these leads (all where None). Raises InputError.

    A lead that several multiplex groups hold is that of the first ORIGINAL one: in an electrocardiogram the rhythm,
    not the median beat that is derived from it. What a group lacks because it starts later than others is missing.
    """
    wanted = None if leads is None else {key_of(lead) for lead in leads}
    groups, order = _groups(path)
    groups = sorted(groups, key=_is_derived)
    found: dict[str, Lead] = {}
    with _guarded(path):
        starts = _starts_s(groups)
        for group, start_s in zip(groups, starts, strict=True):
            steps, rate_hz = _steps(group, order), _rate(path, group)
            for place, name in enumerate(_names(group)):
                if key_of(name) not in found and (wanted is None or key_of(name) in wanted):
                    lead = _lead(group, place, name, steps[:, place], rate_hz).delayed(start_s)
                    found[key_of(name)] = lead if seconds is None else lead.cut(seconds)
    return Recording(tuple(found.values()))


def _starts_s(groups: list["Dataset"]) -> list[float]:
    """When each group starts after the earliest, by its Multiplex Group Time Offset (in ms: PS3.3 C.10.9.1.1)."""
    offsets = [float(group.get("MultiplexGroupTimeOffset") or 0.0) / 1000 for group in groups]
    if not all(np.isfinite(offsets)) or max(offsets) - min(offsets) > MAX_OFFSET_S:
        raise ValueError("Multiplex Group Time Offset")
    recorded = [o for o, group in zip(offsets, groups, strict=True) if not _is_derived(group)] or offsets
    return [max(offset - min(recorded), 0.0) for offset in offsets]


def _is_derived(group: "Dataset") -> bool:
    return str(group.get("WaveformOriginality")) == "DERIVED"


def _groups(path: Path) -> tuple[list["Dataset"], str]:
    """(the multiplex groups, the order of their bytes: < or >)."""
    from ingest.dicom.header import read_header  # here: sounds and EDF need no pydicom

    if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
        _broken(path, "", f"a file of at most {MAX_FILE_BYTES:,} bytes", "none, or a larger one")
    dataset = read_header(path)
    with _guarded(path):
        groups = list(dataset.get("WaveformSequence") or [])
        for group in groups:
            _check(path, group)
    if not groups:
        _broken(path, "Waveform Sequence", "at least one multiplex group", "none")
    return groups, ">" if dataset.original_encoding[1] is False else "<"


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """What pydicom raises on a broken element, as one line."""
    from ingest.dicom.header import dicom_errors
    from ingest.dicom.quiet import quiet_pydicom

    quiet_pydicom()
    try:
        yield
    except dicom_errors() as error:
        got = f"an element that cannot be read ({type(error).__name__})"
        _broken(path, "Waveform Sequence", "multiplex groups", got)


def _check(path: Path, group: "Dataset") -> None:
    """Refuse a group whose data are not what its header promises."""
    kind = (group.get("WaveformBitsAllocated"), str(group.get("WaveformSampleInterpretation")))
    if kind not in _TYPES:
        _broken(path, "Waveform Sample Interpretation", "SB, UB, SS, US, SL or UL", f"{kind[1][:8]} of {kind[0]} bits")
    channels, samples = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    definitions = len(group.get("ChannelDefinitionSequence") or [])
    if not 0 < channels <= MAX_CHANNELS or channels != definitions:
        _broken(path, "Channel Definition Sequence", f"{channels} channels, as stated", f"{definitions}")
    needed = channels * samples * int(kind[0]) // 8
    held = len(group.WaveformData or b"")
    if samples < 1 or held < needed:
        _broken(path, "Waveform Data", f"{needed:,} bytes for {samples:,} samples of {channels}", f"{held:,}")
    _rate(path, group)


def _rate(path: Path, group: "Dataset") -> float:
    written = group.get("SamplingFrequency")
    rate_hz = float(written) if written is not None else 0.0
    if not 0 < rate_hz <= 1e6:
        _broken(path, "Sampling Frequency", "above 0 and at most 1 MHz", f"{rate_hz:g} Hz")
    return rate_hz


def _steps(group: "Dataset", order: str) -> NDArray[np.integer]:
    """(samples, channels) as they were digitised."""
    channels, samples = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    kind = np.dtype(order + _TYPES[int(group.WaveformBitsAllocated), str(group.WaveformSampleInterpretation)])
    return np.frombuffer(bytes(group.WaveformData), kind, channels * samples).reshape(samples, channels)


def _lead(group: "Dataset", place: int, name: str, steps: NDArray[np.integer], rate_hz: float) -> Lead:
    """Physical units: steps x sensitivity x its correction factor + baseline (PS3.3 C.10.9.1.4.2)."""
    channel = group.ChannelDefinitionSequence[place]
    missing = np.zeros(len(steps), bool)
    padding = group.get("WaveformPaddingValue")
    if isinstance(padding, bytes) and len(padding) >= steps.dtype.itemsize:
        missing = steps == np.frombuffer(padding, steps.dtype, 1)[0]
    elif isinstance(padding, int):
        missing = steps == padding
    units = channel.get("ChannelSensitivityUnitsSequence")
    if "ChannelSensitivity" not in channel or not units:
        samples = steps.astype(np.float32)
        samples[missing] = np.nan
        return Lead(name, samples, rate_hz, "")
    gain = float(channel.ChannelSensitivity) * float(channel.get("ChannelSensitivityCorrectionFactor") or 1.0)
    baseline = float(channel.get("ChannelBaseline") or 0.0)
    samples = (steps * gain + baseline).astype(np.float32)
    samples[missing] = np.nan
    bits = int(channel.get("WaveformBitsStored") or group.WaveformBitsAllocated)
    low = -(2 ** (bits - 1)) if steps.dtype.kind == "i" else 0
    rails = sorted(step * gain + baseline for step in (low, low + 2**bits - 1))
    return Lead(name, samples, rate_hz, ucum(str(units[0].get("CodeValue") or "")), (rails[0], rails[1]))


def _names(group: "Dataset") -> list[str]:
    """The channels' names: the lead that a code stands for, else what the source or the label is called."""
    return [_name(channel, place) for place, channel in enumerate(group.ChannelDefinitionSequence)]


def _name(channel: "Dataset", place: int) -> str:
    sources = channel.get("ChannelSourceSequence")
    code = str(sources[0].get("CodeValue") or "") if sources else ""
    meaning = str(sources[0].get("CodeMeaning") or "") if sources else ""
    numbered = _LEAD_CODE.fullmatch(code)
    written = (numbered and _LEADS.get(numbered[1])) or meaning or str(channel.get("ChannelLabel") or "")
    return lead_name(written) if written.strip() else f"channel {place + 1}"


def _broken(path: Path, field: str, expected: str, got: str) -> NoReturn:
    raise InputError(str(path), field=field, expected=expected, got=got) from None
