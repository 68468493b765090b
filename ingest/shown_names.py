"""File names as they may be shown: a part of a path that could be somebody's name or number is masked.

A hospital names folders and files after patients more often than it should. What is printed, kept in accounts and
entered as a source shows only parts that are made of the words below and of short numbers; any other part shows as
`…` and eight digits of its SHA-256, with a usual suffix. Whoever has the delivery finds the file by that digest, or by
the digest of its content that follows in `source_file`; quarantine keeps the full path.
"""

import hashlib
import re
from functools import lru_cache

_SUFFIX = re.compile(
    r"(?:\.(?:csv|tsv|tab|txt|json|jsonl|ndjson|xml|xlsx|parquet|gz|zip|tar|tgz|bz2|xz|zst|7z|dcm|dicom|ima|nii|hdr|img|png|"
    r"jpe?g|tiff?|wav|flac|ogg|mp3|aiff?|edf|bdf|hea|dat|atr|pdf|html?|md|ya?ml|log|db|sql|rtf|docx?))+$",
    re.IGNORECASE,
)
_PIECE = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")
MAX_DIGITS = 3  # in a row: the number of a file, a bed or a ward, no record number
# The words of data and of deliveries, of formats and tables, of methods and of organs. No word that is a usual name.
_TEXT = """
a the and of for in to from with without by on all any each one two three four five six seven eight nine ten first
second third last next new old early late earlier later before after day days week month year morning evening today
now time times date again more less other another same different twice once both part parts piece page pages line
lines row rows column columns batch chunk set sets group split train test tests validation demo sample samples example
examples synthetic simulated truth readme index manifest report reports log notice changes license good bad broken
valid invalid truncated cut short long large big small tiny huge empty full whole half wrong right clean dirty plain
raw strange odd hostile bomb deep nested flat wide missing extra duplicate double copy copies original corrected
amended final preliminary updated update added removed changed equal unequal known unknown delivery deliveries export
exports import imports data dataset datasets source sources file files folder folders archive archives input inputs
output outputs inbox incoming received receiving unpacked upload download dump backup hospital clinic ward wards unit
units icu er ed theatre lab labs laboratory pharmacy radiology cardiology pathology patient patients person persons
people subject subjects case cases cohort cohorts visit visits stay stays encounter encounters admission admissions
discharge discharges transfer transfers event events episode record records chart charts vital vitals sign signs
measurement measurements observation observations result results value values condition conditions diagnosis diagnoses
procedure procedures medication medications drug drugs exposure exposures prescription prescriptions order orders
request requests administration statement dispense allergy allergies intolerance immunization specimen device location
locations organization practitioner role related coverage claim consent composition document documents reference
references media binary bundle resource resources questionnaire response communication care plan provenance diagnostic
imaging study studies series instance instances image images picture pictures photo photos scan scans slice slices
volume volumes frame frames film films mask masks segmentation overlay mri mr ct cr dx us xa nm pt pet mg sc ot px
xray xrays radiograph radiographs cxr chest thorax head brain heart lung abdomen pelvis skin knee ecg ekg eeg ppg spo
signal signals wave waveform waveforms recording recordings rec sound sounds audio lead leads tone monitor beat breath
cough auscultation note notes text texts letter letters summary summaries dicom dicomdir fhir hl omop cdm meds eicu
mimic physionet synthea concept concepts vocabulary vocabularies domain relationship ancestor class strength death era
period cost provider site fact table tables mapping mappings map schema metadata meta config settings code codes
dictionary age ages sex weight rate pressure temperature glucose lactate creatinine sodium potassium oxygen alarm
alarms drive drives driving vehicle trip trips can bus gps video stream streams speed brake steering sheet book
workbook list lists my your path work run runs private public shared main left up down north south east west out img
im pa ap lat lateral frontal axial coronal sagittal mono monochrome rgb gray grey color colour pixel pixels little
endian explicit implicit deflated compressed zip gzip tar csv json ndjson xml parquet png jpg jpeg tif tiff nifti wav
edf wfdb dcm id ids uid x y z db sql no not none null zero nan bom utf latin unicode version versions v k m n s p o r
b c d e f g h i j l q t u w history histories birth births deaths outcome outcomes conflict conflicts problem problems
fault faults many few mixed mix some others state states plans zst zstd born thing things beats hours hour minutes
minute seconds local remote zone zones wall clock summer winter twin twins start end begin stop inner outer top bottom
"""
_WORDS = frozenset(_TEXT.split())


class ShownName(str):
    """A path as it may be shown. `full` is what it stands for, and goes nowhere but into quarantine."""

    full: str

    def __new__(cls, full: str) -> "ShownName":
        made = super().__new__(cls, "/".join(shown_part(part) for part in full.split("/")))
        made.full = full
        return made

    def __getnewargs__(self) -> tuple[str]:
        return (self.full,)


@lru_cache(maxsize=4096)
def shown_part(part: str) -> str:
    """A component of a path; masked unless all of it is made of impersonal words and short numbers."""
    found = _SUFFIX.search(part)
    suffix = found[0] if found else ""
    stem = part[: len(part) - len(suffix)]
    if is_impersonal(stem) or part.startswith("…"):
        return part
    return f"…{hashlib.sha256(part.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}{suffix.lower()}"


def is_impersonal(text: str) -> bool:
    """Whether a text is made of known words, short numbers and separators alone."""
    if len(text) > 60 or re.search(r"[^\w .,()+@-]", text):
        return False
    pieces: list[str] = _PIECE.findall(text)
    digits = [piece for piece in pieces if piece.isdigit()]
    if sum(map(len, digits)) > 2 * MAX_DIGITS:
        return False
    return all(_is_known(piece) for piece in pieces)


def _is_known(piece: str) -> bool:
    if piece.isdigit():
        return len(piece) <= MAX_DIGITS or (len(piece) == 5 and piece.startswith("00"))
    word = piece.lower()
    return word in _WORDS or (word.endswith("s") and word[:-1] in _WORDS)
