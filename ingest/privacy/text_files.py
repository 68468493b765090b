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
from ingest.privacy.account import Account
from ingest.privacy.keys import ISSUER
from ingest.privacy.notes import Scrubber
from ingest.privacy.people import People
from ingest.privacy.records import moved
from ingest.readers.notes import _decoded

FORMAT = "note"
_FILE_TIME = "%Y%m%dT%H%M%S%f"


def subject_of(file: SourceFile, part: Notes) -> str | None:
    """The identifier in a note's file name; None where it has none."""
    found = re.fullmatch(part.name, file.path.stem)
    return found["subject"].strip() or None if found else None


class TextFiles:
    """Writes notes, and describes in a mapping how they are to be read."""

    def __init__(self, people: People, account: Account, place: Callable[..., Path]) -> None:
        self._people, self._account, self._place = people, account, place
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
        when = _moved(found.groupdict().get("time"), part.format, person.days)
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
            raw |= {"path": f"{folder}/*.txt", "name": rf"(?P<subject>T[0-9A-F]+)_{time}[0-9a-f]+", "issuer": ISSUER}
            self.mapping.append(raw)
        return self._folders[key]


def _moved(text: str | None, form: str | None, days: int) -> str | None:
    """The time in a file's name some days later, in its own form. Raises Refusal."""
    if text is None:
        return None
    if form is None:
        found = moved(text, days)
        if found is None:
            raise Refusal("time", "an ISO 8601 time", "something else")
        return found
    try:
        return (dt.datetime.strptime(text, form) + dt.timedelta(days=days)).strftime(form)  # noqa: DTZ007
    except (ValueError, OverflowError):
        raise Refusal("time", f"a time as {form}", "something else") from None
