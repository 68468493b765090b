"""Recordings of every format: sound files, WFDB, EDF and BDF, DICOM waveforms."""

from collections.abc import Collection
from pathlib import Path

from ingest.errors import InputError
from ingest.files import sha256_of
from ingest.signals.edf import edf_facts, is_edf, read_edf
from ingest.signals.signal import SOUND, Lead, Recording, RecordingFacts, key_of
from ingest.signals.sound import check_sound, read_channels
from ingest.signals.wfdb import SUFFIX, is_wfdb, read_wfdb, signal_files, wfdb_facts, wfdb_sha256

_HEAD = 4096
_DICOM = slice(128, 132)


def read_recording(path: Path, seconds: float | None = None, leads: Collection[str] | None = None) -> Recording:
    """The first `seconds` (all where None) of these leads (all where None), in the units that the file states.

    Leads that are not there are left out; a sound's channels are leads of unit "1". Raises InputError, one line.
    """
    head = _head(path)
    if head[_DICOM] == b"DICM" or path.suffix.lower() == ".dcm":
        from ingest.signals.dicom import read_dicom_waveform  # pydicom only where there is DICOM

        return read_dicom_waveform(path, seconds, leads)
    if is_edf(head):
        return read_edf(path, seconds, leads)
    if is_wfdb(path, head):
        return read_wfdb(path, seconds, leads)
    return _read_sound(path, seconds, leads)


def recording_facts(path: Path) -> RecordingFacts:
    """What the header says, with nothing decoded. Raises InputError, one line, whatever is wrong."""
    head = _head(path)
    if head[_DICOM] == b"DICM" or path.suffix.lower() == ".dcm":
        from ingest.signals.dicom import dicom_facts

        return dicom_facts(path)
    if is_edf(head):
        return edf_facts(path)
    return wfdb_facts(path) if is_wfdb(path, head) else check_sound(path)


def is_waveform(path: Path, head: bytes) -> bool:
    """Whether a file is EDF, BDF or a WFDB header."""
    return is_edf(head) or is_wfdb(path, head)


def recording_sha256(path: Path) -> str:
    """A file's SHA-256; of a WFDB header whose signal files are beside it, one digest over all of them.

    Raises OSError where the file cannot be read.
    """
    try:
        return wfdb_sha256(path) if path.suffix == SUFFIX and companions(path) else sha256_of(path)
    except InputError:  # no WFDB header, or one that names what is not there: a file like any other
        return sha256_of(path)


def companions(path: Path) -> list[Path]:
    """The files that a recording is made of beside `path` itself: those that a WFDB header names. Raises InputError."""
    return signal_files(path) if path.suffix == SUFFIX and is_wfdb(path, _head(path)) else []


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise InputError(str(path), expected="a readable recording", got=error.strerror or "an error") from None


def _read_sound(path: Path, seconds: float | None, leads: Collection[str] | None) -> Recording:
    samples, rate_hz = read_channels(path, seconds)
    names = [f"channel {number + 1}" for number in range(samples.shape[1])]
    wanted = None if leads is None else {key_of(lead) for lead in leads}
    found = (Lead(n, s, float(rate_hz), SOUND, (-1.0, 1.0)) for n, s in zip(names, samples.T, strict=True))
    return Recording(tuple(lead for lead in found if wanted is None or key_of(lead.name) in wanted))
