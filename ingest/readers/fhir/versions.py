"""Versions of a resource: which of two holds, whatever the order in which they came."""

import datetime as dt
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ingest.account.quarantine import Refusal
from ingest.readers.fhir.facts import Skip
from ingest.readers.fhir.index import NOT_STATED, Known, RecordIndex, Row, label_of
from ingest.readers.fhir.values import Node, branch, branches, word

if TYPE_CHECKING:
    from ingest.intake import Intake  # a process that only extracts does without

NOTES = {
    "corrected": "record replaced by a better version of it",
    "withdrawn": "record taken back: its source has withdrawn it",
}
SOURCE = "fhir-source"  # of the ledger's entries: a file's number -> its name and content
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
PRELIMINARY, STATED, CORRECTED, WITHDRAWN = range(4)
OLDER = "older version than the one that is here"
STAYS_FINAL = "preliminary after final: the final stays"
STAYS_WITHDRAWN = "withdrawn before: it stays so"

_UNTRUE = frozenset({"entered-in-error", "cancelled", "not-done", "refuted", "superseded"})
_NOT_YET = frozenset({"draft", "intended", "planned", "preparation", "proposed", "waitlist"})
_RANKS = {
    "registered": PRELIMINARY, "partial": PRELIMINARY, "preliminary": PRELIMINARY,
    "amended": CORRECTED, "corrected": CORRECTED, "appended": CORRECTED,
}  # fmt: skip


def order(mine: Row, other: Row) -> int:
    """Above 0 where the first of two rows is the better version, below 0 where the other is, 0 where nothing tells.

    What was final stays so against anything preliminary; then the later update or higher version number counts;
    then withdrawn before corrected before merely stated.
    """
    ranks = mine.rank, other.rank
    if WITHDRAWN not in ranks and (ranks[0] == PRELIMINARY) != (ranks[1] == PRELIMINARY):
        return 1 if ranks[1] == PRELIMINARY else -1
    if NOT_STATED not in (mine.updated, other.updated) and mine.updated != other.updated:
        return 1 if mine.updated > other.updated else -1
    if -1 not in (mine.number, other.number) and mine.number != other.number:
        return 1 if mine.number > other.number else -1
    return ranks[0] - ranks[1]


class Versions:
    """The versions that are known, and the verdict on those that come: used, skipped, or in place of another."""

    def __init__(self, intake: "Intake") -> None:
        self._intake = intake
        self.index = RecordIndex(intake.ledger)

    def source(self, source: str) -> int:
        """The number of a file, from which it is found again when a record of it is retired."""
        number = int(self._intake.identity.digest(source)[:8], 16)
        self._intake.ledger.enter(SOURCE, str(number), source)
        return number

    def known(self, key: int) -> Known | None:
        """What is known of one record."""
        return self.index.find(np.array([key], np.uint64)).get(0)

    def take(self, new: Row, known: Known | None) -> None:
        """Let a version in, in place of a worse one. Raises Skip where it is the worse, Refusal where nothing tells.

        The caller enters it into the index.
        """
        if known is None:
            return
        old = known.row
        if (old.content, old.rank) == (new.content, new.rank):
            from ingest.intake import ALREADY

            raise Skip("duplicate" if known.is_of_this_run else ALREADY)
        if old.subject and new.subject and old.subject != new.subject:
            raise other_subject()
        verdict = order(new, old)
        if verdict < 0:
            raise Skip(_why_worse(new, old))
        if verdict == 0 and known.is_of_this_run:
            raise same_id()
        if old.rank != WITHDRAWN:
            self._retire(old, "corrected")

    def withdraw(self, new: Row) -> bool:
        """A resource was withdrawn or deleted: what was read of it no longer holds. False: there was nothing."""
        if not new.key:
            return False
        known = self.known(new.key)
        if known is not None:
            old = known.row
            if new.subject and old.subject and new.subject != old.subject:
                raise other_subject()
            if old.rank == WITHDRAWN or order(new, old) < 0:
                return False
            self._retire(old, "withdrawn")
        self.index.enter_one(new)
        return known is not None

    def _retire(self, old: Row, why: str) -> None:
        source = self._intake.ledger.either(SOURCE, str(old.source))
        assert source is not None, "a version's file is entered before it"
        self._intake.retire(source, label_of(old), why)
        self._intake.report.note(NOTES[why])


def _why_worse(new: Row, old: Row) -> str:
    """Why a version that lost is skipped."""
    if old.rank == WITHDRAWN:
        return STAYS_WITHDRAWN
    return STAYS_FINAL if new.rank == PRELIMINARY != old.rank else OLDER


def stated_version(resource: Node) -> tuple[int, int, int]:
    """(rank, meta.lastUpdated in microseconds, meta.versionId) of a resource, as `ROW` has them."""
    status = "docStatus" if "docStatus" in resource else "status"  # a document's status is that of the reference to it
    rank = _RANKS.get(word(resource, status), STATED) if _is_text(resource, status) else STATED
    meta = resource.get("meta")
    if not meta:
        return rank, NOT_STATED, -1
    meta = branch(resource, "meta")
    return rank, moment_of(word(meta, "lastUpdated")), number_of(word(meta, "versionId"))


def number_of(version: str) -> int:
    """A version id as a number; -1 where it is none."""
    return int(version) if version.isdecimal() and len(version) <= 18 else -1


@lru_cache(maxsize=10_000)
def moment_of(text: str) -> int:
    """meta.lastUpdated in microseconds since 1970; NOT_STATED where it is no instant."""
    try:
        moment = dt.datetime.fromisoformat(text) if len(text) > 10 else None
        return NOT_STATED if moment is None or moment.tzinfo is None else (moment - _EPOCH) // _MICROSECOND
    except (OverflowError, ValueError):
        return NOT_STATED


def not_counted(resource: Node) -> tuple[str, bool] | None:
    """(why a resource does not count, whether it is withdrawn); None where it does count.

    Entered in error, cancelled, refuted, not done, superseded: withdrawn. Draft or planned: not yet.
    """
    statuses = [word(resource, key) for key in ("status", "docStatus") if _is_text(resource, key)]
    verification = resource.get("verificationStatus")
    if isinstance(verification, dict):
        statuses += [word(coding, "code") for coding in branches(verification, "coding")]
    wrong = next((status for status in statuses if status in _UNTRUE), None)
    early = next((status for status in statuses if status in _NOT_YET), None)
    if wrong is None and early is None:
        return None
    return f"{word(resource, 'resourceType')} {wrong or early}", wrong is not None


def same_id() -> Refusal:
    """Two contents under one id, and nothing that says which is the later."""
    return Refusal(
        "id", "an id of its own, or a version that tells which is later", "that of another record of this delivery",
        "have the source state meta.lastUpdated",
    )  # fmt: skip


def other_subject() -> Refusal:
    """A known id that is now about somebody else: another source's record, or one moved between patients."""
    return Refusal(
        "id", "the subject that this id was about before", "another subject",
        "give each source its own --issuer; a record of the wrong patient has to be withdrawn first",
    )  # fmt: skip


def _is_text(resource: Node, key: str) -> bool:
    return isinstance(resource.get(key), str)
