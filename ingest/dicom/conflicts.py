"""Which images of a delivery contradict each other, or earlier ones, on who they are of: none of those is used.

Three things are contested: a patient, under whose identifier two persons are found; a study, which names two patients;
an image, whose UID has two contents. All images concerned are refused, those of earlier deliveries are taken back, and
so it stays until one delivery holds all of the contested pixels again and nothing contradicts any more; for a patient,
also until a record (FHIR, a table) says who it is.

The ledger keeps: image (UID -> digest of pixels), image-source (UID -> file), study (UID -> subject), study-images and
subject-studies (lists), contest (what is contested -> digests of the pixels concerned, and what differs).
"""

from pathlib import Path

import orjson

from ingest.account.quarantine import Refusal
from ingest.dicom.gathered import Gathered, Waiting, claims_of
from ingest.dicom.pixels import decoded_digest
from ingest.errors import InputError
from ingest.identity.register import Claim
from ingest.intake import Intake

FORMAT = "DICOM"
MAX_COMPARED = 8  # encodings of one image
WITHDRAWN = "image of an earlier delivery taken back: contested by a later one"
_HINT = "all images concerned are in quarantine; correct the source, then deliver all of them together"


class Contests:
    """The contested UIDs, studies and subjects of a delivery."""

    def __init__(self, gathered: Gathered, intake: Intake) -> None:
        self._gathered, self._intake = gathered, intake
        self._refusals: dict[tuple[str, str], Refusal] = {}
        for scope, judge in (("uid", self._uid), ("study", self._study), ("subject", self._subject)):
            for key, values in gathered.groups(scope):
                judge(key, values)

    def refusal(self, waiting: Waiting) -> Refusal | None:
        """Why an entry cannot be used; None where nothing contradicts it."""
        keys = (("uid", waiting.entry.uid), ("study", waiting.entry.study), ("subject", str(waiting.subject)))
        return next((self._refusals[key] for key in keys if key in self._refusals), None)

    def _uid(self, uid: str, digests: list[str]) -> None:
        known = self._intake.ledger.either("image", uid)
        if len({*digests, known or digests[0]}) > 1 and not self._are_same_pixels(uid):
            self._contest("uid", uid, "other pixels", [uid] if known else [])
        elif not known:
            self._still_contested("uid", uid)

    def _are_same_pixels(self, uid: str) -> bool:
        """Whether files of one UID that differ as stored are the same once decoded: recompressed without loss."""
        source = self._intake.ledger.either("image-source", uid)
        paths = [*self._gathered.paths(uid), *([Path(orjson.loads(source)[2])] if source else [])]
        try:
            return len(paths) <= MAX_COMPARED and len({decoded_digest(path) for path in paths}) == 1
        except InputError:
            return False

    def _study(self, study: str, subjects: list[str]) -> None:
        known = _patient_of(self._intake, study)
        if len(subjects) > 1 or (known and known not in subjects):
            earlier = _list(self._intake, "study-images", study) if known else []
            self._contest("study", study, "another patient", earlier)
        elif not known:
            self._still_contested("study", study)

    def _subject(self, key: str, values: list[str]) -> None:
        said, by_record = self._intake.identity.claim(int(key))
        if by_record:
            return  # each image is compared with the record, by itself
        fields: dict[str, None] = {}
        for claim in claims_of(values):
            fields |= dict.fromkeys(said.conflicts(claim))
            said = said.merged(claim)
        if fields:
            self._contest("subject", key, f"another {' and another '.join(fields)}", images_of(self._intake, key))
            self._intake.identity.withdraw(int(key))
        else:
            self._still_contested("subject", key)

    def _contest(self, scope: str, key: str, what: str, earlier: list[str]) -> None:
        """Refuse what is in this delivery, take back what earlier ones gave, and remember all of it."""
        digests = self._gathered.digests(scope, key) | withdraw(self._intake, earlier)
        known = _contest(self._intake, scope, key)
        self._intake.ledger.enter("contest", f"{scope} {key}", _remembered(digests | known[0], what))
        if scope == "study":
            self._intake.ledger.enter("study", key, "")
            self._intake.ledger.enter("study-images", key, "[]")
        self._refusals[scope, key] = _refusal(scope, what)

    def _still_contested(self, scope: str, key: str) -> None:
        digests, what = _contest(self._intake, scope, key)
        if not digests:
            return
        if self._gathered.holds_all(digests):
            self._intake.ledger.enter("contest", f"{scope} {key}", _remembered(set(), ""))
            self._intake.report.note("contest settled: all images concerned came again, and none contradicts another")
        else:
            self._intake.ledger.enter(
                "contest", f"{scope} {key}", _remembered(digests | self._gathered.digests(scope, key), what)
            )
            self._refusals[scope, key] = _refusal(scope, f"{what}, since an earlier delivery")


def withdraw_contested(intake: Intake) -> None:
    """Take back the images of subjects of whom a record of this run says something else. To be called after readers."""
    for subject, fields in intake.identity.contested.items():
        uids = images_of(intake, str(subject))
        digests = withdraw(intake, uids)
        if digests:
            known = _contest(intake, "subject", str(subject))[0]
            what = f"another {fields.replace(' and ', ' and another ')}"
            intake.ledger.enter("contest", f"subject {subject}", _remembered(digests | known, what))
        intake.identity.withdraw(subject)


def withdraw(intake: Intake, uids: list[str]) -> set[str]:
    """Take back images of earlier deliveries, so that they may come again; the digests of their pixels."""
    digests = set()
    for uid in uids:
        digest, source = intake.ledger.either("image", uid), intake.ledger.either("image-source", uid)
        if not digest or not source:
            continue
        source_file, sha256, _ = orjson.loads(source)
        intake.retire(source_file, uid, "contested")
        intake.report.note(WITHDRAWN)
        intake.ledger.enter_file(sha256, FORMAT, 1, frozenset({"withdrawn"}))
        intake.ledger.enter("image", uid, "")
        intake.ledger.enter("image-source", uid, "")
        digests.add(digest)
    return digests


def remember_used(gathered: Gathered, intake: Intake) -> None:
    """Enter which images each study has, and which studies each subject."""
    for subject, study, uids in gathered.used():
        known = _list(intake, "study-images", study)
        intake.ledger.enter("study-images", study, orjson.dumps(list(dict.fromkeys(known + uids))).decode())
        studies = _list(intake, "subject-studies", subject)
        if study not in studies:
            intake.ledger.enter("subject-studies", subject, orjson.dumps([*studies, study]).decode())


def images_of(intake: Intake, subject: str) -> list[str]:
    """The UIDs of a subject's images from earlier deliveries."""
    return [
        uid
        for study in _list(intake, "subject-studies", subject)
        for uid in _list(intake, "study-images", study)
        if _patient_of(intake, study) in (subject, None)
    ]


def check_claim(intake: Intake, waiting: Waiting) -> int:
    """Register the patient of an image that nothing contests; its subject. Raises Refusal."""
    entry = waiting.entry
    if intake.identity.known(entry.issuer, entry.identifier) is None:
        intake.report.note("patient known from images only: check --issuer if there are records too")
    if entry.claim == Claim():
        intake.report.note("image that says nothing of its patient but an identifier: swapped ones go unnoticed")
    return intake.identity.register([(entry.issuer, entry.identifier)], entry.claim, by_image=True)


def _patient_of(intake: Intake, study: str) -> str | None:
    """The subject of a study, as it is known today; None of one that has none."""
    known = intake.ledger.either("study", study)
    return str(intake.identity.person(int(known))) if known else None


def _refusal(scope: str, what: str) -> Refusal:
    if scope == "uid":
        return Refusal("SOP Instance UID", "a UID of its own", f"that of an image with {what}", _HINT)
    if scope == "study":
        return Refusal("Study Instance UID", "a study of one patient", f"that of a study of {what}", _HINT)
    return Refusal("patient identity", "one person under this identifier", f"images of {what}", _HINT)


def _contest(intake: Intake, scope: str, key: str) -> tuple[set[str], str]:
    digests, what = orjson.loads(intake.ledger.either("contest", f"{scope} {key}") or '[[], ""]')
    return set(digests), what


def _remembered(digests: set[str], what: str) -> str:
    return orjson.dumps([sorted(digests), what]).decode()


def _list(intake: Intake, kind: str, key: str) -> list[str]:
    values: list[str] = orjson.loads(intake.ledger.either(kind, key) or "[]")
    return values
