"""The columns of the catalogue that a DICOM object fills."""

import re
from typing import TYPE_CHECKING

from ingest.account.quarantine import Refusal
from ingest.dicom.frames import geometry
from ingest.dicom.header import DicomFile
from ingest.dicom.pixels import number_of_frames

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

UID_PATTERN = re.compile(r"[0-9]+(\.[0-9]+)+")
CODE_STRING = re.compile(r"[A-Z0-9_ ]{1,16}")
MAX_TEXT = 1024
MAX_WAVEFORM_CHANNELS = 1024
# "Lead I (Einthoven)", "Lead aVR", "V1": the usual leads, by the names that everybody knows them by.
_LEAD = re.compile(r"\b(III|II|I|aVR|aVL|aVF|V[1-9]R?|MCL[16]?|ES|AS|AI|[XYZ])\b(?=[\s,(]|$)", re.IGNORECASE)


def text(dataset: "Dataset", keyword: str) -> str:
    """An element as text, without padding; several values are joined as DICOM does. Empty where absent.

    Raises Refusal for one longer than any real value.
    """
    value = dataset.get(keyword)
    if value is None:
        return ""
    joined = "\\".join(str(each) for each in value) if _is_multiple(value) else str(value)
    if len(joined) > MAX_TEXT:
        raise Refusal(keyword, f"at most {MAX_TEXT} characters", f"{len(joined):,}")
    return joined.strip(" \0")


def image_facts(opened: DicomFile) -> dict[str, object]:
    """What the catalogue keeps of an image: facts as columns of `catalogue.SCHEMA`, absent ones left out."""
    dataset = opened.dataset
    frames = number_of_frames(opened)
    first = geometry(dataset, 1)[0]
    facts: dict[str, object] = {
        **common_facts(dataset),
        "view": _code(dataset, "ViewPosition"),
        "image_type": _free(dataset, "ImageType"),
        "photometric": _code(dataset, "PhotometricInterpretation"),
        "transfer_syntax": str(opened.transfer_syntax),
        "rows": int(dataset.Rows),
        "columns": int(dataset.Columns),
        "frames": frames,
        "bits_stored": _whole(dataset, "BitsStored"),
        "frame_of_reference": _uid(dataset, "FrameOfReferenceUID"),
        "position_mm": _numbers(first.position_mm),
        "orientation": _numbers(first.orientation),
        "spacing_mm": _numbers(first.spacing_mm),
        "thickness_mm": first.thickness_mm,
        "burned_in": {"YES": True, "NO": False}.get(_free(dataset, "BurnedInAnnotation").upper()),
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}


def waveform_facts(dataset: "Dataset") -> dict[str, object]:
    """What the catalogue keeps of a waveform: rate, channels and length of its first group. Raises Refusal."""
    groups = dataset.get("WaveformSequence")
    if not groups:
        raise Refusal("Waveform Sequence", "a recording", "none")
    for group in groups:
        _check_group(group)
    first = groups[0]
    rate = float(first.SamplingFrequency)
    facts = {
        **common_facts(dataset),
        "sample_rate_hz": rate,
        "channels": [_channel(number, item) for number, item in enumerate(first.ChannelDefinitionSequence, 1)],
        "seconds": int(first.NumberOfWaveformSamples) / rate,
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}


def common_facts(dataset: "Dataset") -> dict[str, object]:
    """What images and waveforms share."""
    described = (_free(dataset, key) for key in ("SeriesDescription", "ProtocolName", "StudyDescription"))
    return {
        "instance": _uid(dataset, "SOPInstanceUID"),
        "series": _uid(dataset, "SeriesInstanceUID"),
        "study": _uid(dataset, "StudyInstanceUID"),
        "modality": _code(dataset, "Modality"),
        "body_part": _free(dataset, "BodyPartExamined").upper() or _region(dataset),
        "laterality": _code(dataset, "ImageLaterality") or _code(dataset, "Laterality"),
        "description": " | ".join(dict.fromkeys(part for part in described if part)),
        "instance_number": _whole(dataset, "InstanceNumber"),
    }


def _check_group(group: "Dataset") -> None:
    """Refuse a multiplex group whose samples are not all there (DICOM PS3.3 C.10.9)."""
    channels, samples = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    needed = channels * samples * int(group.WaveformBitsAllocated) // 8
    if not 0 < channels <= MAX_WAVEFORM_CHANNELS or samples < 1 or not float(group.SamplingFrequency) > 0:
        got = f"{channels} channels, {samples} samples"
        raise Refusal("Waveform Sequence", "channels, samples and their rate, each above 0", got)
    if len(group.ChannelDefinitionSequence) != channels:
        got = f"{len(group.ChannelDefinitionSequence)}"
        raise Refusal("Channel Definition Sequence", f"the definitions of {channels} channels", got)
    if (held := len(group.WaveformData)) < needed:
        raise Refusal("Waveform Data", f"{needed:,} bytes of {channels} channels, {samples:,} samples", f"{held:,}")


def _channel(number: int, item: "Dataset") -> str:
    """The name of a channel: a lead's usual name, else the meaning of its code, its label, or its number."""
    source = (item.get("ChannelSourceSequence") or [None])[0]
    meaning = _free(source, "CodeMeaning") if source is not None else ""
    meaning = meaning or _free(item, "ChannelLabel")
    if lead := _LEAD.search(meaning):
        name = lead[1].upper()
        return f"aV{name[-1]}" if name.startswith("AV") else name
    return meaning or f"channel {number}"


def _region(dataset: "Dataset") -> str:
    items = dataset.get("AnatomicRegionSequence") or ()
    return _free(items[0], "CodeMeaning").upper() if items else ""


def _free(dataset: "Dataset", keyword: str) -> str:
    """Descriptive text: cut, not refused, where it is too long."""
    value = dataset.get(keyword)
    joined = "\\".join(str(each) for each in value) if _is_multiple(value) else str("" if value is None else value)
    return "".join(c for c in joined[:MAX_TEXT] if c.isprintable()).strip()


def _code(dataset: "Dataset", keyword: str) -> str:
    value = _free(dataset, keyword).upper()
    return value if CODE_STRING.fullmatch(value) else ""


def _uid(dataset: "Dataset", keyword: str) -> str:
    value = str(dataset.get(keyword) or "").strip(" \0")
    return value if len(value) <= 64 and UID_PATTERN.fullmatch(value) else ""


def _whole(dataset: "Dataset", keyword: str) -> int | None:
    value = dataset.get(keyword)
    try:
        number = None if value in (None, "") or _is_multiple(value) else int(value)
    except ValueError:
        return None
    return number if number is not None and abs(number) < 1 << 62 else None


def _numbers(vector: tuple[float, ...] | None) -> list[float] | None:
    return None if vector is None else list(vector)


def _is_multiple(value: object) -> bool:
    from pydicom.multival import MultiValue

    return isinstance(value, MultiValue)
