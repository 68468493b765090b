"""Who is who in a delivery, before anything of it is written: one subject, pseudonym and shift in every file.

The subject of a person is that of the first identifier that names them, so that an image finds the pseudonym of its
patient's records. What the delivery says of them (names, identifiers, telephone numbers) is what notes
are searched for.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ingest.account.quarantine import Refusal
from ingest.privacy.dicom import Person
from ingest.privacy.keys import Keys
from ingest.privacy.notes import Known

Node = dict[str, Any]
Pair = tuple[str, str]  # issuer, identifier
ABOUT = ("subject", "patient", "individual", "beneficiary", "for")


@dataclass
class People:
    """The people of one delivery. `learn_*` first, for all files; then `person` and `known` say the same to each."""

    keys: Keys
    issuer: str
    _parent: dict[Pair, Pair] = field(default_factory=dict)
    _references: dict[str, Pair] = field(default_factory=dict)
    _names: dict[Pair, set[str]] = field(default_factory=lambda: defaultdict(set))
    _others: dict[Pair, set[str]] = field(default_factory=lambda: defaultdict(set))  # telephone numbers and the like
    _binaries: dict[str, Pair] = field(default_factory=dict)  # Binary/id -> whose attachment names it
    _links: list[tuple[Pair, str]] = field(default_factory=list)
    _members: dict[Pair, set[Pair]] = field(default_factory=dict)

    def learn_identifier(self, issuer: str, identifier: str, names: Iterable[str] = ()) -> Pair:
        """An identifier that a file names, and what it calls the person."""
        pair = (issuer.strip(), identifier.strip())
        if not pair[1]:
            raise Refusal("patient identifier", "an identifier", "nothing", "a record of nobody is not written")
        self._parent.setdefault(pair, pair)
        self._names[pair].update(name for name in names if name.strip())
        return pair

    def learn_patient(self, resource: Node, full_url: str = "") -> None:
        """A FHIR Patient: identifiers, names, how they are reached, and what refers to them."""
        identifier = resource.get("id")
        found = [each for each in _dicts(resource.get("identifier")) if _text(each, "value").strip()]
        pairs = [(_text(each, "system") or self.issuer, _text(each, "value")) for each in found]
        if not pairs:
            if not isinstance(identifier, str):
                raise Refusal("identifier", "an identifier or an id", "none")
            pairs = [("fhir", identifier)]
        ours = [self.learn_identifier(*pair) for pair in pairs]
        for other in ours[1:]:
            self._join(ours[0], other)
        for reference in ([f"Patient/{identifier}"] if isinstance(identifier, str) else []) + [full_url]:
            if reference:
                self._references[reference] = ours[0]
        for person in (resource, *_dicts(resource.get("contact"))):
            names = person.get("name")
            for name in _dicts(names if isinstance(names, list) else [names]):
                parts = [name.get("family"), name.get("text"), *(name.get("given") or [])]
                self._names[ours[0]].update(part for part in parts if isinstance(part, str))
            others = [_text(each, "value") for each in _dicts(person.get("telecom"))]
            others += [text for each in _dicts(person.get("address")) for text in _address(each)]
            self._others[ours[0]].update(other for other in others if other)
        self._links += [(ours[0], _text(each.get("other") or {}, "reference")) for each in _dicts(resource.get("link"))]

    def learn_attachments(self, resource: Node) -> None:
        """Whose the Binary resources are that a resource's attachments name."""
        for url in _binary_urls(resource):
            if (pair := self._about(resource)) is not None:
                self._binaries["/".join(url.split("/")[-2:])] = pair

    def settle(self) -> None:
        """Join what the source says is one person (Patient.link). To be called once all is learnt."""
        for pair, other in self._links:
            if (linked := self._named(other)) is not None:
                self._join(pair, linked)
        self._links = []
        for pair in self._parent:
            self._members.setdefault(self._root(pair), set()).add(pair)

    def subject_of(self, pair: Pair) -> int:
        """The subject of an identifier, as a workspace of the same key numbers it."""
        return self.keys.subject(*self._root((pair[0].strip(), pair[1].strip())))

    def person(self, pair: Pair) -> Person:
        """The pseudonym and the shift of an identifier's person."""
        subject = self.subject_of(pair)
        return Person(self.keys.pseudonym(subject), self.keys.days(subject))

    def known(self, pair: Pair) -> Known:
        """What the delivery says of the person."""
        members = self._members.get(self._root(pair), {pair})
        names = sorted({name for member in members for name in self._names.get(member, ())})
        others = sorted({other for member in members for other in self._others.get(member, ())})
        return Known(tuple(names), tuple(sorted({member[1] for member in members})) + tuple(others))

    def about(self, resource: Node) -> Pair | None:
        """Whom a resource is about; None where it is about nobody. Raises Refusal for somebody that is not known."""
        if resource.get("resourceType") == "Binary":
            return self._binaries.get(f"Binary/{resource.get('id')}")
        named = [key for key in ABOUT if isinstance(resource.get(key), dict)]
        pair = self._about(resource)
        if pair is None and named:
            raise Refusal(f"{named[0]}.reference", "a Patient of this delivery", "another", "deliver Patient too")
        return pair

    def of_patient(self, resource: Node) -> Pair:
        """The identifier under which a Patient was learnt."""
        found = [each for each in _dicts(resource.get("identifier")) if _text(each, "value").strip()]
        pair = (
            (_text(found[0], "system") or self.issuer, _text(found[0], "value")) if found else ("fhir", resource["id"])
        )
        return pair[0].strip(), pair[1].strip()

    def refers(self, reference: str) -> Pair | None:
        """The person that a reference means; None where it means none."""
        return self._named(reference)

    def _about(self, resource: Node) -> Pair | None:
        for key in ABOUT:
            about = resource.get(key)
            for each in about if isinstance(about, list) else [about]:
                if isinstance(each, dict):
                    if (pair := self._named(_text(each, "reference"))) is not None:
                        return pair
                    logical = each.get("identifier")
                    if isinstance(logical, dict):
                        pair = (_text(logical, "system") or self.issuer, _text(logical, "value"))
                        if pair in self._parent:
                            return pair
        return None

    def _named(self, reference: str) -> Pair | None:
        if found := self._references.get(reference):
            return found
        plain = reference.split("/_history/")[0]
        if "?identifier=" in plain:
            issuer, _, value = plain.split("?identifier=")[1].rpartition("|")
            pair = (issuer or self.issuer, value)
            return pair if pair in self._parent else None
        return self._references.get("/".join(plain.split("/")[-2:]))

    def _root(self, pair: Pair) -> Pair:
        while (up := self._parent.get(pair, pair)) != pair:
            pair = up
        return pair

    def _join(self, one: Pair, other: Pair) -> None:
        first, second = self._root(one), self._root(other)
        if first != second:
            self._parent[second] = first


def _binary_urls(value: object) -> list[str]:
    if isinstance(value, dict):
        url = value.get("url")
        own = [url] if isinstance(url, str) and "contentType" in value and "Binary/" in url else []
        return own + [found for each in value.values() for found in _binary_urls(each)]
    return [found for each in value for found in _binary_urls(each)] if isinstance(value, list) else []


def _address(address: Node) -> list[str]:
    lines = [line for line in address.get("line") or [] if isinstance(line, str)]
    return [*lines, _text(address, "postalCode")]


def _dicts(value: object) -> list[Node]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(node: Node, key: str) -> str:
    value = node.get(key)
    return value if isinstance(value, str) else ""
