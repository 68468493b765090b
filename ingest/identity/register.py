"""Who is who: identifiers become subject numbers by a keyed hash, and no two persons become one.

The number of a subject is HMAC-SHA256 of (issuer, identifier) under the workspace's own random key, so it tells
nothing about the identifier to whoever lacks the key, and the same identifier of another issuer is another subject.
What sources say of a subject (names, birth date, sex) is kept to be compared with what the next one says.

identities/key                  32 random bytes, 0600
identities/identities.db        identifiers, references and claims, 0600
"""

import hashlib
import hmac
import re
import secrets
import unicodedata
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from ingest.account.quarantine import Refusal
from ingest.errors import InputError
from ingest.files import replacing_file
from ingest.identity.merges import Merges
from ingest.identity.store import IdentityStore

_TRANSCRIBED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae"})


@dataclass(frozen=True)
class Claim:
    """What a source says of a person. `names` are "family^given given"; `birth_date` is digits, possibly cut short."""

    names: tuple[str, ...] = ()
    birth_date: str = ""
    sex: str = ""  # M, F, O, or empty: not stated

    def conflicts(self, other: "Claim") -> list[str]:
        """The fields that both state and that differ."""
        fields = []
        if self.names and other.names and not any(_same_name(a, b) for a in self.names for b in other.names):
            fields.append("name")
        shared = min(len(self.birth_date), len(other.birth_date))
        if self.birth_date[:shared] != other.birth_date[:shared]:
            fields.append("birth date")
        if self.sex and other.sex and self.sex != other.sex:
            fields.append("sex")
        return fields

    def merged(self, other: "Claim") -> "Claim":
        """Both claims as one, the fuller of each field."""
        return Claim(
            tuple(dict.fromkeys(self.names + other.names)),
            max(self.birth_date, other.birth_date, key=len),
            self.sex or other.sex,
        )


class IdentityRegister:
    """The identities of a workspace; `save` keeps what was registered. Nothing is written before that."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        key = folder / "key"
        self._new_key = not key.is_file()
        self._key = secrets.token_bytes(32) if self._new_key else key.read_bytes()
        if len(self._key) != 32:
            raise InputError(str(key), expected="32 bytes", got=f"{len(self._key)}", hint="restore it from a backup")
        self._store = IdentityStore(folder)
        self._merges = Merges(folder)
        self.contested: dict[int, str] = {}  # of whom images said something that a record of this run contradicts: what

    def subject_id(self, issuer: str, identifier: str) -> int:
        """The subject of an identifier: the one it is registered under, else the keyed hash of both.

        Raises Refusal for an empty identifier: two of those are not the same person.
        """
        issuer, identifier = issuer.strip(), identifier.strip()
        if not identifier:
            raise Refusal("patient identifier", "an identifier", "nothing", "an image or record of nobody is not used")
        known = self._store.subject(issuer, identifier)
        return self._hash(issuer, identifier) if known is None else known

    def stated_subject(self, issuer: str, identifier: str) -> int:
        """`subject_id` of an identifier that a delivery states: kept, so that no path that bears it is shown."""
        subject = self.subject_id(issuer, identifier)
        self._store.mention(identifier.strip())
        return subject

    def known(self, issuer: str, identifier: str) -> int | None:
        """The subject that an identifier is registered under; None where nobody has been."""
        return self._store.subject(issuer.strip(), identifier.strip())

    def names(self, subject: int, identifier: str, issuer: str) -> bool:
        """Whether an identifier is this subject's: of `issuer`, or of any issuer that is known."""
        return any(
            self.person(self.subject_id(each, identifier)) == self.person(subject)
            for each in {issuer, *self._store.issuers()}
        )

    def person(self, subject: int) -> int:
        """The subject that a subject was merged into; else itself."""
        return self._merges.aliases.get(subject, subject)

    def claim(self, subject: int) -> tuple[Claim, bool]:
        """(what is known to be said of a subject, whether a record says it; else images alone do)."""
        claim, by_image = self._claim(subject)
        return claim, not by_image and claim != Claim()

    def withdraw(self, subject: int) -> None:
        """Forget what images said of a subject: they are contested, and none of them is in use any more."""
        if self._claim(subject)[1]:
            self._store.forget_claim(subject)

    def register(self, identifiers: list[tuple[str, str]], claim: Claim, *, by_image: bool = False) -> int:
        """The one subject that all these (issuer, identifier) name, of whom `claim` is said.

        The first identifier decides the number, unless one of them is known already. Raises Refusal on conflict. A
        record that contradicts what images said earlier is refused, and its subject is `contested`.
        """
        pairs = [(issuer.strip(), identifier.strip()) for issuer, identifier in identifiers]
        known = {subject for pair in pairs if (subject := self._store.subject(*pair)) is not None}
        if len(known) > 1:  # who was merged is one
            known = {self._merges.aliases.get(subject, subject) for subject in known}
        if len(known) > 1:
            raise Refusal(
                "identifier",
                "identifiers of one known subject",
                f"identifiers of {len(known)} known subjects",
                "merge them at the source first",
            )
        subject = known.pop() if known else self.subject_id(*pairs[0])
        said, by_images = self._claim(subject)
        if fields := said.conflicts(claim):
            if by_images and not by_image:
                self.contested[subject] = " and ".join(fields)
            raise Refusal(
                "patient identity",
                "the person whom the record has under this identifier",
                f"another {' and another '.join(fields)}",
                "both values are in quarantine and in the identity register; correct the source",
            )
        for pair in pairs:
            self._store.enter_subject(*pair, subject)
        both, only_images = said.merged(claim), by_image and (by_images or said == Claim())
        if both != said or only_images != by_images:
            self._store.enter_claim(subject, (both.names, both.birth_date, both.sex, only_images))
        return subject

    def bearing(self, words: Set[str]) -> set[str]:
        """Of some words in lower case, those that are part of somebody's name or are an identifier."""
        return self._store.bearing(words) if words else set()

    def merge(self, kept: int, other: int, why: str) -> bool:
        """Two subjects are one person: `other` is read as `kept` from now on. False where nothing changed."""
        return self._merges.merge(kept, other, why)

    def refer(self, issuer: str, reference: str, subject: int) -> None:
        """Remember what a reference such as Patient/17 means; one that comes to mean two subjects means none."""
        known = self._store.reference(issuer, reference)
        if known is None:
            self._store.enter_reference(issuer, reference, subject)
        elif known[0] not in (None, subject):
            self._store.enter_reference(issuer, reference, None)

    def referred(self, issuer: str, reference: str) -> int | None:
        """The subject that an earlier delivery meant by this reference; None where unknown or ambiguous."""
        known = self._store.reference(issuer, reference)
        return None if known is None else known[0]

    def digest(self, text: str | bytes) -> str:
        """A keyed digest, to recognise a record again without keeping it."""
        content = text.encode() if isinstance(text, str) else text
        return hashlib.blake2b(content, digest_size=12, key=self._key).hexdigest()

    def save(self) -> None:
        """Write key and register, each as a whole, readable by their owner only."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._merges.save()
        if self._new_key:
            with replacing_file(self._folder / "key") as temporary:
                temporary.write_bytes(self._key)
            (self._folder / "key").chmod(0o600)
            self._new_key = False
        self._store.save()

    def close(self) -> None:
        """Let go of the register's file. What was not saved is forgotten."""
        self._store.close()

    def _claim(self, subject: int) -> tuple[Claim, bool]:
        """(what is said of a subject, whether images alone say it)."""
        stored = self._store.claim(subject)
        return (Claim(), False) if stored is None else (Claim(*stored[:3]), stored[3])

    def _hash(self, issuer: str, identifier: str) -> int:
        return subject_number(self._key, issuer, identifier)


def subject_number(key: bytes, issuer: str, identifier: str) -> int:
    """The number of a subject: 63 bits of HMAC-SHA256 over issuer and identifier."""
    message = f"{len(issuer)}:{issuer}{identifier}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hmac.digest(key, message, "sha256")[:8], "big") >> 1


def _same_name(a: str, b: str) -> bool:
    """Whether two names can be one person's: the words of one are all among the words of the other.

    So "SMITH^JOHN" agrees with "Smith^John Paul" and with a bare "SMITH", not with "SMITH^ANNA". Case, accents and
    their transcription (ü as ue), hyphens and the order of the parts do not count.
    """
    spellings = [(plain(a), plain(b)) for plain in (_words, _transcribed_words)]
    spellings += [(_words(a), _transcribed_words(b)), (_transcribed_words(a), _words(b))]
    return any(x <= y or y <= x for x, y in spellings)


def _words(name: str) -> frozenset[str]:
    plain = "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(c))
    return frozenset(re.findall(r"\w+", plain))


def _transcribed_words(name: str) -> frozenset[str]:
    return _words(unicodedata.normalize("NFC", name.casefold()).translate(_TRANSCRIBED))
