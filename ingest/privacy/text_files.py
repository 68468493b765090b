"""Notes that are files of their own, named by a mapping or by a record: scrubbed, and written as UTF-8."""

import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile
from ingest.files import write_text
from ingest.mapping.mapping import Notes
from ingest.meaning.times import has_time_of_day, localize
from ingest.privacy.account import Account
from ingest.privacy.keys import ISSUER
from ingest.privacy.notes import Scrubber
from ingest.privacy.people import People
from ingest.privacy.records import moved
from ingest.readers.notes import _decoded

FORMAT = "note"
_DATE_LENGTH = len("2026-03-01")


def subject_of(file: SourceFile, part: Notes) -> str | None:
    """The identifier in a note's file name; None where it has none."""
    found = re.fullmatch(part.name, file.path.stem)
    return found["subject"].strip() or None if found else None


class TextFiles:
    """Writes notes, and describes in a mapping how they are to be read."""

    def __init__(self, people: People, account: Account, place: Callable[..., Path], zone: dt.tzinfo | None) -> None:
        self._people, self._account, self._place, self._zone = people, account, place, zone
        self.mapping: list[dict[str, Any]] = []
        self._folders: dict[str, str] = {}

    def write_note(self, file: SourceFile, part: Notes) -> None:
        """Write a note that a mapping names. Raises Refusal."""
        found = re.fullmatch(part.name, file.path.stem)
        if not found or not found["subject"].strip():
            raise Refusal("file name", "a name that the mapping's pattern matches", "another")
        pair = (part.issuer.strip(), found["subject"].strip())
        text = _decoded(file, part.encoding)
        person = self._people.person(pair)
        when = _moved(found.groupdict().get("time"), part.format, person.days, self._zone)
        folder = self._folder(part, timed=when is not None)
        name = f"{person.pseudonym}_{when}_" if when is not None else f"{person.pseudonym}_"
        target = self._place(folder, file, ".txt", prefix=name, salt=file.relative)
        write_text(target, Scrubber(person.days, self._people.known(pair), self._account.marks).scrub(text))
        self._account.write(FORMAT)

    def write_attached(self, file: SourceFile, scrubber: Scrubber) -> str | None:
        """Write a note that a record names; its path from OUT on. None where it is no text in UTF-8."""
        try:
            text = _decoded(file, "utf-8")
        except Refusal:
            return None
        target = self._place("notes", file, ".txt", salt=str(scrubber.days))
        write_text(target, scrubber.scrub(text))
        return f"notes/{target.name}"

    def _folder(self, part: Notes, *, timed: bool) -> str:
        """A folder for each part of the mapping, described when it is first used."""
        key = f"{part.reading}{timed}"
        if key not in self._folders:
            folder = f"notes/{len(self._folders):03}"
            self._folders[key] = folder
            time = r"(?P<time>[^_]+)_" if timed else ""
            raw = part.model_dump(mode="json", exclude_defaults=True)
            raw.pop("encoding", None)
            if part.format is not None and self._zone is not None and _is_clock(part.format):
                raw.pop("format")  # such times are written in UTC
            raw |= {"path": f"{folder}/*.txt", "name": rf"(?P<subject>T[0-9A-F]+)_{time}[0-9a-f]+", "issuer": ISSUER}
            self.mapping.append(raw)
        return self._folders[key]


def _moved(text: str | None, form: str | None, days: int, zone: dt.tzinfo | None) -> str | None:
    """The time in a file's name some days later: a clock of a known zone as a moment in UTC, all else in its own form.

    Raises Refusal.
    """
    if text is None:
        return None
    try:
        if form is None:
            clock = dt.datetime.fromisoformat(text) if len(text) > _DATE_LENGTH and zone is not None else None
            if clock is None or clock.tzinfo is not None:
                return _given(moved(text, days))
        else:
            clock = dt.datetime.strptime(text, form)  # noqa: DTZ007 - the zone is resolved below
            if zone is None or not _is_clock(form):
                return (clock + dt.timedelta(days=days)).strftime(form)
        moment = localize(clock, "time", zone).astimezone(dt.UTC) + dt.timedelta(days=days)
    except (ValueError, OverflowError):
        expected = "an ISO 8601 time" if form is None else f"a time as {form}"
        raise Refusal("time", expected, "something else") from None
    except Refusal:  # which shows the time
        raise Refusal("time", "a time that happens once", "one that the clocks repeat or leave out") from None
    return moment.strftime("%Y%m%dT%H%M%S.%fZ" if moment.microsecond else "%Y%m%dT%H%M%SZ")


def _given(found: str | None) -> str:
    if found is None:
        raise ValueError
    return found


def _is_clock(form: str) -> bool:
    """Whether times of a form are wall clocks: with a time of day, without an offset."""
    return has_time_of_day(form) and "%z" not in form
