"""What a DICOM object is, by its SOP class: a picture of the patient, a waveform, or something else, by its name."""

from typing import TYPE_CHECKING

from ingest.account.quarantine import Refusal

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
_WAVEFORM = "Waveform Storage"
# Classes of DICOM PS3.4 B.5 whose name says that they are images, and one that is without saying so.
_IMAGE = ("Image Storage", "Enhanced US Volume Storage")


def sop_class(dataset: "Dataset") -> str:
    """The name of an object's SOP class; of one that the standard lacks, that it is private or unknown."""
    from pydicom.uid import UID

    uid = UID(str(dataset.get("SOPClassUID", "")).strip(" \0"))
    if uid.name != str(uid):
        return uid.name
    return "an unknown SOP class" if uid else "an object without SOP class"


def is_waveform(dataset: "Dataset") -> bool:
    """Whether an object holds a recording, such as a 12-lead ECG."""
    return _WAVEFORM in sop_class(dataset) and "SR " not in sop_class(dataset)


def no_image(dataset: "Dataset", *, has_pixels: bool) -> str:
    """Why an object is no picture of the patient, as `no image: <SOP class>`; empty where it is one.

    Objects of private classes are pictures if they have pixels. Raises Refusal for an image class without pixels.
    """
    name = sop_class(dataset)
    if any(words in name for words in _IMAGE):
        if not has_pixels:
            raise Refusal("Pixel Data", f"the pixels of a {name.removesuffix(' Storage')}", "none")
        return ""
    return "" if has_pixels and name == "an unknown SOP class" else f"no image: {name}"
