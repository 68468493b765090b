"""One secret, from which every pseudonym follows: the same person, study and day shift in every file and every run.

All are HMAC-SHA256 under the key, so that nobody without it can tell, or try out, what they stand for.
"""

import hashlib
import hmac
import uuid
from dataclasses import dataclass

from ingest.identity.register import subject_number

MAX_SHIFT_DAYS = 365
ISSUER = "urn:telltale:pseudonym"  # of pseudonyms, wherever they stand: so that images and records stay of one person


@dataclass(frozen=True)
class Keys:
    """key: 32 bytes, as a workspace's `identities/key`."""

    key: bytes

    @classmethod
    def of_secret(cls, secret: bytes) -> "Keys":
        """The keys that a secret file gives, the same as those of a workspace made with it."""
        return cls(hashlib.sha256(secret).digest())

    def subject(self, issuer: str, identifier: str) -> int:
        """The number that a workspace of this key gives to the subject."""
        return subject_number(self.key, issuer.strip(), identifier.strip())

    def pseudonym(self, subject: int) -> str:
        """What takes the place of a subject's identifier and name: 16 letters and digits."""
        return f"T{self._digest('pseudonym', str(subject))[:15].upper()}"

    def days(self, subject: int) -> int:
        """By how many days all dates of a subject are moved: 1 to MAX_SHIFT_DAYS into the past."""
        return -1 - int(self._digest("days", str(subject))[:12], 16) % MAX_SHIFT_DAYS

    def uid(self, uid: str) -> str:
        """What takes the place of a DICOM UID: one derived from a UUID (DICOM PS3.5, B.2)."""
        return f"2.25.{int(self._digest('uid', uid.strip(chr(0) + ' '))[:32], 16)}"

    def name(self, kind: str, text: str) -> str:
        """What takes the place of another identifier, such as a file's name."""
        return self._digest(kind, text)[:24]

    def uuid(self, identifier: str) -> str:
        """What takes the place of a resource's id, as a UUID."""
        return str(uuid.UUID(self._digest("id", identifier)[:32]))

    def _digest(self, kind: str, text: str) -> str:
        message = f"{len(kind)}:{kind}{text}".encode("utf-8", "surrogatepass")
        return hmac.new(self.key, message, hashlib.sha256).hexdigest()
