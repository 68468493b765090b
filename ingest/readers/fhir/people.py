"""Who and what the references of a delivery mean: patients, places, medications, binaries; and who became one."""

import re
from collections.abc import Iterator

from ingest.account.quarantine import Refusal
from ingest.identity.merges import BY_SOURCE
from ingest.identity.register import Claim
from ingest.identity.store import Meanings
from ingest.intake import Intake
from ingest.readers.fhir.facts import Binary, Lookup
from ingest.readers.fhir.files import FULL_URL
from ingest.readers.fhir.medications import medication_code
from ingest.readers.fhir.values import Node, branch, branches, local_name, place_code, word, words

MERGED = "patients merged: the source says that they are one (Patient.link)"
MAX_BINARY_BYTES = 256 * 1024 * 1024  # of those that are in bundles or compressed files, together
_GENDERS = {"male": "M", "female": "F", "other": "O"}


class References:
    """What the references of a delivery mean, those of earlier deliveries included."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.patients = Meanings()  # of references and full urls
        self.binaries: dict[str, Binary] = {}
        self._codes: dict[str, dict[str, str]] = {"place": {}, "medicine": {}}
        self._barred: set[str] = set()  # references to Patients that were refused: they mean nobody
        self._links: list[tuple[int, str]] = []  # subject that is kept, reference of the other; see `merged`
        self._replaced: list[tuple[int, str]] = []  # subject that is replaced, reference of the one kept
        self._binary_bytes = 0

    def learn_patient(self, resource: Node) -> int:
        """Register who a Patient is, and what refers to it. Raises Refusal where that contradicts what is known."""
        issuer = self._intake.issuer
        identifiers = _identifiers(resource, issuer)
        links = [(word(link, "type"), word(branch(link, "other"), "reference")) for link in branches(resource, "link")]
        self._merge_before(identifiers, [other for kind, other in links if kind == "replaces"])
        subject = self._intake.identity.register(identifiers, _claim(resource))
        for reference in _names(resource):
            self.patients.enter(reference, subject)
            self._intake.identity.refer(issuer, reference, subject)
        self._links += [(subject, other) for kind, other in links if kind == "replaces" and other]
        self._replaced += [(subject, other) for kind, other in links if kind == "replaced-by" and other]
        return subject

    def merged(self) -> Iterator[tuple[int, int]]:
        """(kept, other) of subjects that the source says are one person (Patient.link)."""
        pairs: list[tuple[int | None, int | None]] = [(kept, self._meant(other)) for kept, other in self._links]
        pairs += [(self._meant(kept), other) for other, kept in self._replaced]
        self._links, self._replaced = [], []
        for kept, other in dict.fromkeys(pairs):
            if kept is None or other is None:
                self._intake.report.note("link to a Patient whom no delivery has named: not merged")
            elif kept != other:
                yield kept, other

    def _merge_before(self, identifiers: list[tuple[str, str]], replaced: list[str]) -> None:
        """A Patient who replaces another and bears the identifiers of both: they have to be one before that is read."""
        identity = self._intake.identity
        known = {subject for pair in identifiers if (subject := identity.known(*pair)) is not None}
        others = {subject for reference in replaced if (subject := self._meant(reference)) in known}
        if len(known - others) == 1:
            kept = next(iter(known - others))
            for other in others:
                if other is not None and identity.merge(kept, other, BY_SOURCE):
                    self._intake.report.note(MERGED)

    def bar(self, resource: Node) -> None:
        """What refers to a refused Patient is refused too, also where an earlier delivery gave it a meaning."""
        for key in ("id", FULL_URL):
            if type(name := resource.get(key)) is str:
                self._barred.add(f"Patient/{name}" if key == "id" else name)
        identifiers = resource.get("identifier")
        for each in identifiers if type(identifiers) is list else []:
            if type(each) is dict:
                self._barred.add(f"{each.get('system') or self._intake.issuer}|{each.get('value')}")

    def subject(self, about: str, key: str) -> int:
        """The subject that a record is about; see `Extracted.abouts`. Raises Refusal where no delivery has named it."""
        if about.startswith("|"):
            _, system, value = about.split("|", 2)
            pair: tuple[str, str] | None = (system or self._intake.issuer, value)
        else:
            for place in (about, local_name(about)):
                if place in self._barred:
                    raise _barred(key)
                if (subject := self.patients.get(place)) is not None:
                    return subject
            if about and (found := self._meant(about)) is not None:
                return found
            pair = _conditional(about)
        if pair and "|".join(pair) in self._barred:
            raise _barred(key)
        if pair and pair[1] and (subject := self._intake.identity.known(*pair)) is not None:
            return subject
        raise Refusal(
            f"{key}.reference",
            "a Patient of this delivery or an earlier one",
            "one that none has named" if about.strip("|") else "none",
            "deliver Patient too",
        )

    def learn_place(self, resource: Node) -> None:
        """The code of a Location's type, such as ICU."""
        if code := place_code(resource):
            self._learn("place", "Location", resource, code)

    def learn_medicine(self, resource: Node) -> None:
        """The code of a Medication. Raises Refusal where it has none."""
        self._learn("medicine", "Medication", resource, medication_code(resource))

    def learn_binary(self, resource: Node, place: Binary | None) -> None:
        """Where the content of a Binary lies; what cannot be read again there is kept, within bounds."""
        if place is None:
            self._binary_bytes += len(word(resource, "data"))
            if self._binary_bytes > MAX_BINARY_BYTES:
                raise Refusal(
                    "data", f"at most {MAX_BINARY_BYTES:,} bytes of Binaries in bundles and compressed files", "more",
                    "deliver them as plain ndjson",
                )  # fmt: skip
            place = Binary(resource)
        for name in _names(resource, "Binary"):
            self.binaries[name] = place

    def code(self, lookup: Lookup) -> str:
        """What a reference to a Location or Medication stands for. Raises Refusal for an unknown Medication."""
        name = lookup.reference
        tail = local_name(name)
        known = self._codes[lookup.kind]
        code = known.get(name) or known.get(tail)
        if code is None:
            code = self._intake.ledger.earlier(lookup.kind, self._scoped(tail))
            if code is not None:
                known[name] = code
        if code is None and lookup.kind == "place":
            code = re.split(r"[/|]", tail)[-1]  # its id is all that is known of it
        if code is None:
            raise Refusal(
                lookup.field, "a Medication of this delivery or an earlier one", "one that none has named",
                "deliver Medication too",
            )  # fmt: skip
        return code

    def _learn(self, kind: str, resource_type: str, resource: Node, code: str) -> None:
        names = list(_names(resource, resource_type))
        names += [
            f"{resource_type}?identifier={word(each, 'system')}|{word(each, 'value')}"
            for each in branches(resource, "identifier")
        ]
        for name in names:
            self._codes[kind][name] = code
            self._intake.ledger.enter(kind, self._scoped(name), code)

    def _scoped(self, name: str) -> str:
        return f"{self._intake.issuer}|{name}"

    def _meant(self, reference: str) -> int | None:
        names = (reference, local_name(reference))
        for name in names:
            if (known := self.patients.get(name)) is not None:
                return known
        referred = (self._intake.identity.referred(self._intake.issuer, name) for name in names)
        return next((subject for subject in referred if subject is not None), None)


def _names(resource: Node, kind: str = "Patient") -> list[str]:
    """What a resource may be referred to by within a delivery."""
    own, url = word(resource, "id"), word(resource, FULL_URL)
    return [name for name in (f"{kind}/{own}" if own else "", url) if name]


def _identifiers(resource: Node, issuer: str) -> list[tuple[str, str]]:
    """(issuer, identifier) of a Patient, the best first; its own id where it has none."""
    pairs = [
        (word(each, "system") or issuer, word(each, "value"), _rank(each))
        for each in branches(resource, "identifier")
        if word(each, "value").strip()
    ]
    identifiers = [(system, value) for system, value, _ in sorted(pairs, key=lambda pair: pair[2])]
    if not identifiers and (own := word(resource, "id")):
        identifiers = [(f"{issuer}#Patient", own)]
    if not identifiers:
        raise Refusal("identifier", "an identifier or an id", "none", "a record of nobody is not used")
    return identifiers


def _claim(resource: Node) -> Claim:
    names = tuple(
        f"{word(name, 'family')}^{' '.join(words(name, 'given'))}"
        for name in branches(resource, "name")
        if word(name, "family")
    )
    return Claim(names, re.sub(r"\D", "", word(resource, "birthDate")), _GENDERS.get(word(resource, "gender"), ""))


def _barred(key: str) -> Refusal:
    return Refusal(f"{key}.reference", "a Patient who is known", "one who was refused", "see that Patient's refusal")


def _rank(identifier: Node) -> int:
    """Which identifier names a patient best: a medical record number, then an official one, then any."""
    codes = {word(coding, "code") for coding in branches(branch(identifier, "type"), "coding")}
    return 0 if "MR" in codes else 1 if word(identifier, "use") == "official" else 2


def _conditional(reference: str) -> tuple[str, str] | None:
    """(system, value) of a reference such as Patient?identifier=system|value."""
    kind, _, query = reference.partition("?identifier=")
    system, bar, value = query.partition("|")
    return (system, value) if kind.endswith("Patient") and bar else None
