"""FHIR R4 resources without who they are of: what is named as harmless stays, all else goes.

Dates move by the subject's days at the precision and offset that they have; ids and references become keyed ones, the
same in every file; free text is scrubbed as notes are. See `record_rules` for what stays.
"""

import base64
import binascii
import datetime as dt
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from ingest.account.quarantine import Refusal
from ingest.privacy.keys import ISSUER, Keys
from ingest.privacy.notes import OLDEST, Known, Scrubber
from ingest.privacy.people import Pair, People
from ingest.privacy.record_rules import CODES, DROPPED, MEASURES, OF_PEOPLE_AND_PLACES, TEXTS, TYPES
from ingest.readers.fhir.types import is_type

Node = dict[str, Any]
MAX_DEPTH = 48
_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2})(T[0-9:.,Z+-]{2,40})?)?)?")
_DATED = re.compile(
    r"(date|time|issued|recorded|start|end|created|authored|sent|received|instant|lastUpdated)", re.IGNORECASE
)
_CODE = re.compile(r"[^\s@]{1,200}")
_UNIT = re.compile(r"[^\d@]{0,3}[^@]{0,40}")
_NUMBERS = re.compile(r"[\d\s.,:EeULTZ+-]*")
_REFERENCE = re.compile(r"(?:.*/)?([A-Z][A-Za-z]{2,40})/([A-Za-z0-9.-]{1,64})(?:/_history/.*)?", re.DOTALL)
_TEXT_KINDS = {"", "text/plain", "text/markdown"}


class Records:
    """Changes the resources of one file. `attached(url)` gives what takes the place of a file's url, or None."""

    def __init__(
        self, people: People, attached: Callable[[str, str, Scrubber], str | None], marks: Counter[str],
        dropped: Counter[str], this_year: int,
    ) -> None:  # fmt: skip
        self._people, self._attached, self._marks, self._dropped = people, attached, marks, dropped
        self._keys: Keys = people.keys
        self._oldest = this_year - OLDEST

    def changed(self, resource: Node) -> Node:
        """The resource as it may be given away. Raises Refusal where it may not."""
        kind = resource.get("resourceType")
        if kind not in TYPES:
            got = kind if is_type(kind) else "another type"
            raise Refusal("resourceType", "a type that can be de-identified", f"not de-identified automatically: {got}")
        if "modifierExtension" in resource:
            raise Refusal("modifierExtension", "none: it would change what the rest means", "some")
        if kind == "Patient":
            return self._patient(resource)
        pair = self._people.about(resource)
        if kind == "Binary":
            return self._binary(resource, pair)
        return self._resource(resource, pair)

    def reference(self, text: str) -> str | None:
        """A keyed reference for one to a resource, a contained one or a UUID; None for any other."""
        if text.startswith("#"):
            return f"#{self._keys.uuid(text[1:])}"
        if text.startswith(("urn:uuid:", "urn:oid:")):
            return f"urn:uuid:{self._keys.uuid(text.rpartition(':')[2])}"
        if "?" in text:
            pair = self._people.refers(text)
            return f"Patient?identifier={ISSUER}|{self._people.person(pair).pseudonym}" if pair else None
        found = _REFERENCE.fullmatch(text)
        return f"{found[1]}/{self._keys.uuid(found[2])}" if found else None

    def _patient(self, resource: Node) -> Node:
        pair = self._people.of_patient(resource)
        person = self._people.person(pair)
        made: Node = {"resourceType": "Patient"}
        if isinstance(resource.get("id"), str):
            made["id"] = self._keys.uuid(resource["id"])
        if meta := self._meta(resource, person.days):
            made["meta"] = meta
        made["identifier"] = [{"system": ISSUER, "value": person.pseudonym}]
        for key in ("active", "deceasedBoolean"):
            if isinstance(resource.get(key), bool):
                made[key] = resource[key]
        if resource.get("gender") in ("male", "female", "other", "unknown"):
            made["gender"] = resource["gender"]
        if born := moved(resource.get("birthDate"), person.days):
            if int(born[:4]) <= self._oldest:
                born = str(self._oldest)
                self._dropped[f"birth date of somebody of {OLDEST} or more, made {OLDEST}"] += 1
            made["birthDate"] = born
        if died := moved(resource.get("deceasedDateTime"), person.days):
            made["deceasedDateTime"] = died
        for key in resource.keys() - made.keys():
            self._dropped[f"Patient.{key}" if key in DROPPED else "element that is not known to be harmless"] += 1
        return made

    def _resource(self, resource: Node, pair: Pair | None) -> Node:
        days = None if pair is None else self._people.person(pair).days
        known = Known() if pair is None else self._people.known(pair)
        scrubber = Scrubber(0 if days is None else days, known, self._marks)
        made: Node = {"resourceType": resource["resourceType"]}
        if isinstance(resource.get("id"), str):
            made["id"] = self._keys.uuid(resource["id"])
        if meta := self._meta(resource, days):
            made["meta"] = meta
        rest = {key: value for key, value in resource.items() if key not in ("resourceType", "id", "meta")}
        if resource["resourceType"] == "ImagingStudy":
            made |= self._study(resource)
        return made | self._node(rest, days, scrubber, 0, is_people=resource["resourceType"] in OF_PEOPLE_AND_PLACES)

    def _node(self, node: Node, days: int | None, scrubber: Scrubber, depth: int, *, is_people: bool = False) -> Node:
        if depth > MAX_DEPTH:
            raise Refusal("", f"elements nested at most {MAX_DEPTH} deep", "deeper ones")
        if "modifierExtension" in node:
            raise Refusal("modifierExtension", "none: it would change what the rest means", "some")
        if "contentType" in node and ("url" in node or "data" in node):
            return self._attachment(node, days, scrubber)
        is_reference = isinstance(node.get("reference"), str)
        made: Node = {}
        for key, value in node.items():
            found: Any
            if key == "reference" and is_reference:
                found = self.reference(value)
            elif (
                key.startswith("_")
                or key in DROPPED
                or (key == "display" and is_reference)
                or (key == "text" and isinstance(value, dict))
            ):
                found = None
            elif key == "contained" and depth == 0:
                found = self._contained(value)
            else:
                found = self._value(key, value, days, scrubber, depth, is_people=is_people)
            if found not in (None, {}, []):
                made[key] = found
            elif value not in (None, {}, []):
                is_named = key in DROPPED or (key in ("text", "display") and found is None)
                self._dropped[key if is_named else "element that is not known to be harmless"] += 1
        return made

    def _value(
        self, key: str, value: object, days: int | None, scrubber: Scrubber, depth: int, *, is_people: bool
    ) -> Any:
        if isinstance(value, dict):
            return self._node(value, days, scrubber, depth + 1, is_people=is_people)
        if isinstance(value, list):
            found = [self._value(key, each, days, scrubber, depth + 1, is_people=is_people) for each in value]
            return [each for each in found if each not in (None, {}, [])]
        if isinstance(value, bool | int | float):
            return value
        if not isinstance(value, str):
            return None
        if _DATED.search(key) and _DATE.fullmatch(value):
            return None if days is None else moved(value, days)
        if key == "uid":
            return self._keys.uid(value.removeprefix("urn:oid:"))
        if key in CODES and _CODE.fullmatch(value):
            return value
        if key == "unit" and _UNIT.fullmatch(value):
            return value
        if key in MEASURES and _NUMBERS.fullmatch(value):
            return value
        return scrubber.scrub(value) if key in TEXTS and not is_people else None

    def _contained(self, value: object) -> list[Node]:
        """What a resource holds in itself, but for people: those are not looked up in the delivery."""
        held = [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
        return [
            self._resource(each, None)
            for each in held
            if each.get("resourceType") in TYPES - OF_PEOPLE_AND_PLACES - {"Patient", "Binary"}
        ]

    def _meta(self, resource: Node, days: int | None) -> Node:
        meta = resource.get("meta")
        if not isinstance(meta, dict):
            return {}
        version, updated = meta.get("versionId"), moved(meta.get("lastUpdated"), days or 0)
        kept = {"versionId": version} if isinstance(version, str) and re.fullmatch(r"\d{1,9}", version) else {}
        return kept | ({"lastUpdated": updated} if updated and days is not None else {})

    def _study(self, resource: Node) -> Node:
        """The study's UID, which in R4 is an identifier, as the DICOM files have it."""
        found = resource.get("identifier")
        known = found if isinstance(found, list) else []
        uids = [each.get("value") for each in known if isinstance(each, dict) and each.get("system") == "urn:dicom:uid"]
        return {
            "identifier": [
                {"system": "urn:dicom:uid", "value": f"urn:oid:{self._keys.uid(uid.removeprefix('urn:oid:'))}"}
                for uid in uids
                if isinstance(uid, str)
            ]
        }

    def _attachment(self, node: Node, days: int | None, scrubber: Scrubber) -> Node:
        kind = str(node.get("contentType", ""))
        made: Node = {"contentType": kind} if re.fullmatch(r"[\w/+.;= -]{1,80}", kind) else {}
        if (created := moved(node.get("creation"), days or 0)) and days is not None:
            made["creation"] = created
        data, url = node.get("data"), node.get("url")
        if isinstance(data, str):
            text = _decoded(data, kind)
            if text is None:
                self._dropped[f"attachment that is no plain text: {kind.partition(';')[0][:60]}"] += 1
            else:
                made["data"] = base64.b64encode(scrubber.scrub(text).encode()).decode()
                made["contentType"] = f"{kind.partition(';')[0]};charset=utf-8"
        if isinstance(url, str):
            is_resource = "Binary/" in url or url.startswith("urn:uuid:")
            place = self.reference(url) if is_resource else self._attached(url, kind, scrubber)
            if place is None:
                self._dropped["attachment whose file is not written"] += 1
            else:
                made["url"] = place
        return made

    def _binary(self, resource: Node, pair: Pair | None) -> Node:
        if pair is None:
            raise Refusal("Binary", "one that a record of a patient names", "one of nobody")
        text = _decoded(str(resource.get("data", "")), str(resource.get("contentType", "")))
        if text is None:
            raise Refusal("contentType", "plain text", "not de-identified automatically: other content")
        scrubber = Scrubber(self._people.person(pair).days, self._people.known(pair), self._marks)
        return {
            "resourceType": "Binary", "id": self._keys.uuid(str(resource.get("id"))),
            "contentType": "text/plain;charset=utf-8",
            "data": base64.b64encode(scrubber.scrub(text).encode()).decode(),
        }  # fmt: skip


def moved(value: object, days: int) -> str | None:
    """A FHIR date, dateTime or instant some days later, at its own precision and offset; None for anything else."""
    found = _DATE.fullmatch(value) if isinstance(value, str) else None
    if not found:
        return None
    try:
        day = dt.date(int(found[1]), int(found[2] or 7), int(found[3] or 1)) + dt.timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    whole = f"{day.year:04}-{day:%m-%d}"
    return whole[: 4 if not found[2] else 7 if not found[3] else 10] + (found[4] or "")


def _decoded(data: str, content_type: str) -> str | None:
    """The text of an attachment's base64; None where it is none."""
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower() not in _TEXT_KINDS:
        return None
    charset = parameters.partition("charset=")[2].strip(' "') or "utf-8"
    try:
        return binascii.a2b_base64(data).decode(charset)
    except (ValueError, LookupError):
        return None
