"""Who is who: identifiers become subject numbers by a keyed hash, and no two persons become one.

The number of a subject is HMAC-SHA256 of (issuer, identifier) under the workspace's own random key, so it tells
nothing about the identifier to whoever lacks the key, and the same identifier of another issuer is another subject.
What sources say of a subject (names, birth date, sex) is kept to be compared with what the next one says.

identities/key                  32 random bytes, 0600
identities/identities.parquet   identifiers, references and claims, 0600
"""

import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.errors import InputError
from ingest.files import replacing_file, write_parquet
from ingest.quarantine import Refusal

_SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),  # identifier, reference, or claim
        pa.field("subject_id", pa.int64()),  # null: a reference that names several subjects
        pa.field("issuer", pa.string()),
        pa.field("identifier", pa.string()),
        pa.field("names", pa.list_(pa.string())),
        pa.field("birth_date", pa.string()),
        pa.field("sex", pa.string()),
    ]
)
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
    """The identities of a workspace, in memory; `save` writes them. Nothing is written before that."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        key = folder / "key"
        self._new_key = not key.is_file()
        self._key = secrets.token_bytes(32) if self._new_key else key.read_bytes()
        if len(self._key) != 32:
            raise InputError(str(key), expected="32 bytes", got=f"{len(self._key)}", hint="restore it from a backup")
        self._subjects: dict[tuple[str, str], int] = {}
        self._references: dict[tuple[str, str], int | None] = {}
        self._claims: dict[int, Claim] = {}
        self._load()

    def subject_id(self, issuer: str, identifier: str) -> int:
        """The subject of an identifier: the one it is registered under, else the keyed hash of both.

        Raises Refusal for an empty identifier: two of those are not the same person.
        """
        issuer, identifier = issuer.strip(), identifier.strip()
        if not identifier:
            raise Refusal("patient identifier", "an identifier", "nothing", "an image or record of nobody is not used")
        known = self._subjects.get((issuer, identifier))
        return self._hash(issuer, identifier) if known is None else known

    def known(self, issuer: str, identifier: str) -> int | None:
        """The subject that an identifier is registered under; None where nobody has been."""
        return self._subjects.get((issuer.strip(), identifier.strip()))

    def register(self, identifiers: list[tuple[str, str]], claim: Claim) -> int:
        """The one subject that all these (issuer, identifier) name, of whom `claim` is said.

        The first identifier decides the number, unless one of them is known already. Raises Refusal on conflict.
        """
        pairs = [(issuer.strip(), identifier.strip()) for issuer, identifier in identifiers]
        known = {self._subjects[pair] for pair in pairs if pair in self._subjects}
        if len(known) > 1:
            raise Refusal(
                "identifier",
                "identifiers of one known subject",
                f"identifiers of {len(known)} known subjects",
                "merge them at the source first",
            )
        subject = known.pop() if known else self.subject_id(*pairs[0])
        said = self._claims.get(subject, Claim())
        if fields := said.conflicts(claim):
            raise Refusal(
                "patient identity",
                "the person whom the record has under this identifier",
                f"another {' and another '.join(fields)}",
                "both values are in quarantine and in the identity register; correct the source",
            )
        for pair in pairs:
            self._subjects[pair] = subject
        self._claims[subject] = said.merged(claim)
        return subject

    def refer(self, issuer: str, reference: str, subject: int) -> None:
        """Remember what a reference such as Patient/17 means; one that comes to mean two subjects means none."""
        place = (issuer, reference)
        if self._references.setdefault(place, subject) != subject:
            self._references[place] = None

    def referred(self, issuer: str, reference: str) -> int | None:
        """The subject that an earlier delivery meant by this reference; None where unknown or ambiguous."""
        return self._references.get((issuer, reference))

    def digest(self, text: str | bytes) -> str:
        """A keyed digest, to recognise a record again without keeping it."""
        content = text.encode() if isinstance(text, str) else text
        return hashlib.blake2b(content, digest_size=12, key=self._key).hexdigest()

    def save(self) -> None:
        """Write key and register, each as a whole, readable by their owner only."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._new_key:
            with replacing_file(self._folder / "key") as temporary:
                temporary.write_bytes(self._key)
            (self._folder / "key").chmod(0o600)
            self._new_key = False
        rows: list[tuple[object, ...]] = [
            ("identifier", subject, *pair, None, None, None) for pair, subject in self._subjects.items()
        ]
        rows += [("reference", subject, *place, None, None, None) for place, subject in self._references.items()]
        rows += [
            ("claim", subject, None, None, list(claim.names), claim.birth_date, claim.sex)
            for subject, claim in self._claims.items()
        ]
        columns = zip(*rows, strict=True) if rows else ([] for _ in _SCHEMA)
        arrays = [pa.array(list(values), f.type) for values, f in zip(columns, _SCHEMA, strict=True)]
        write_parquet(self._folder / "identities.parquet", pa.Table.from_arrays(arrays, schema=_SCHEMA))
        os.chmod(self._folder / "identities.parquet", 0o600)  # noqa: PTH101

    def _load(self) -> None:
        path = self._folder / "identities.parquet"
        if not path.is_file():
            return
        for row in pq.read_table(path, schema=_SCHEMA).to_pylist():
            if row["kind"] == "identifier":
                self._subjects[row["issuer"], row["identifier"]] = row["subject_id"]
            elif row["kind"] == "reference":
                self._references[row["issuer"], row["identifier"]] = row["subject_id"]
            else:
                self._claims[row["subject_id"]] = Claim(tuple(row["names"]), row["birth_date"], row["sex"])

    def _hash(self, issuer: str, identifier: str) -> int:
        message = f"{len(issuer)}:{issuer}{identifier}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hmac.digest(self._key, message, "sha256")[:8], "big") >> 1


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
