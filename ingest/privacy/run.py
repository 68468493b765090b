"""A delivery without who it is of: every file of it is written anew, held for a person to look at, or refused.

    OUT/images|sounds|records|tables|notes/<keyed name>.<suffix>
    OUT/mapping.yaml      how the tables and notes are to be read, where there are any
    OUT/report.json       what was done, in counts
    HELD/                 copies of what is held, held.jsonl and refused.jsonl; for its owner alone

The same input under the same key gives the same bytes, so a run that was killed is simply run again.
"""

import datetime as dt
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import yaml

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile, find_files
from ingest.errors import InputError
from ingest.files import write_json, write_text
from ingest.mapping.mapping import Table, TableMapping, load_mapping
from ingest.meaning.times import parse_zone
from ingest.privacy import assets, files
from ingest.privacy.account import Account, Report
from ingest.privacy.dicom_files import Review, write_without_person
from ingest.privacy.keys import Keys
from ingest.privacy.people import People
from ingest.privacy.record_files import RecordFiles
from ingest.privacy.reviews import read_reviews
from ingest.privacy.tables import Tables
from ingest.privacy.text_files import TextFiles

REPORT = "report.json"
_UNFINISHED = {"state": "unfinished"}


def deidentify(
    source: Path,
    out: Path,
    keys: Keys,
    *,
    issuer: str = "local",
    timezone: str | None = None,
    mapping: Path | None = None,
    held: Path | None = None,
    reviewed: Path | None = None,
) -> Report:
    """Write `source` (a file, folder or archive) to the folder `out` without who it is of; every record is counted.

    issuer: of identifiers that do not say whose they are. timezone: of table times without one. held: the folder for
    what a person has to look at (default: `<out>-held`); reviewed: what they said of it, by `reviews.read_reviews`.
    Raises InputError, with nothing written, where `source` is missing, or `out` holds anything else.
    """
    zone = parse_zone(timezone)
    meaning = load_mapping(mapping) if mapping else None
    reviews = read_reviews(reviewed) if reviewed else {}
    kept_aside = held or out.with_name(f"{out.name}-held")
    _check_out(source, out, kept_aside)
    unpacked = out.with_name(f".{out.name}-unpacked")
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        found = find_files([source], out, unpacked=unpacked)
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / REPORT, _UNFINISHED)
        unpacked_mode(unpacked)
        report = _Run(out, keys, issuer, zone, meaning, reviews, Account(kept_aside)).all(found)
        write_json(out / REPORT, report.to_json())
        return report
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def unpacked_mode(folder: Path) -> None:
    """What was unpacked says who people are: only its owner may look."""
    if folder.is_dir():
        os.chmod(folder, 0o700)  # noqa: PTH101 - as elsewhere where modes are set


@dataclass
class _Run:
    """One delivery on its way."""

    out: Path
    keys: Keys
    issuer: str
    zone: dt.tzinfo | None
    mapping: TableMapping | None
    reviews: dict[str, Review]
    account: Account
    _made: set[Path] = field(default_factory=set)
    _assets: dict[Path, str | None] = field(default_factory=dict)  # of pictures and sounds: where written, or nowhere
    _described: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def all(self, found: Sequence[SourceFile]) -> Report:
        """Learn who is who, then write: what others point to first."""
        sorted_files = files.by_kind(found, self.mapping)
        people = People(self.keys, self.issuer)
        files.learn(sorted_files, people, self.mapping)
        for kind, file, refusal in sorted_files.refused:
            self.account.refuse(kind, file, refusal)
        for _, why in sorted_files.skipped:
            self.account.skip("other", why)
        for file in sorted_files.dicom:
            self._each("DICOM", file, partial(self._dicom, people=people))
        for file in sorted_files.pictures:
            self._each("image", file, self._picture)
        for file in sorted_files.sounds:
            self._each("sound", file, self._sound)
        texts = TextFiles(people, self.account, self.place, self.zone)
        for file, part in sorted_files.notes:
            self._each("note", file, partial(texts.write_note, part=part))
        records = RecordFiles(people, self.account, self.place, self._assets.get, texts.write_attached)
        for file in sorted_files.fhir:
            self._each("FHIR", file, records.write)
        tables = Tables(people, self.account, self.zone, lambda path: self._beside(self._assets.get(path)))
        for file, table in sorted_files.tables:
            self._each("table", file, partial(self._table, tables=tables, part=table))
        described = {"files": tables.mapping, "notes": texts.mapping}
        described = {key: parts for key, parts in described.items() if parts}
        if described:
            write_text(self.out / "mapping.yaml", yaml.safe_dump(described, sort_keys=False, allow_unicode=True))
            self._made.add(self.out / "mapping.yaml")
        self._sweep()
        return self.account.close()

    def place(self, folder: str, file: SourceFile, suffix: str, prefix: str = "", salt: str = "") -> Path:
        """Where a file is written: under a name that only the key leads back from."""
        target = self.out / folder / f"{prefix}{self.keys.name('file', file.sha256 + salt)}{suffix}"
        target.unlink(missing_ok=True)  # of an earlier run: what is held or refused now must not stay there
        self._made.add(target)
        return target

    def shown(self, target: Path) -> str:
        """A written file as a mapping or report calls it."""
        return target.relative_to(self.out).as_posix()

    def _each(self, kind: str, file: SourceFile, write: Callable[[SourceFile], None]) -> None:
        try:
            write(file)
        except Refusal as refusal:
            self.account.refuse(kind, file, refusal)
        except InputError as error:
            said = error.complaint
            self.account.refuse(kind, file, Refusal(said.field, said.expected, said.got, said.hint))

    def _dicom(self, file: SourceFile, people: People) -> None:
        target = self.place("images", file, ".dcm")
        reason = write_without_person(
            file.path, lambda dataset: target, lambda dataset: people.person(files.dicom_pair(dataset, self.issuer)),
            self.keys, self.reviews.get(file.sha256),
        )  # fmt: skip
        if reason:
            self.account.hold("DICOM", file, reason)
        else:
            self.account.write("DICOM")

    def _picture(self, file: SourceFile) -> None:
        review = self.reviews.get(file.sha256)
        if review is None and (reason := assets.held_picture(file.path)):
            self.account.hold("image", file, reason)
            return
        suffix = ".png" if review and review.boxes else assets.picture_suffix(file.path)
        target = self.place("images", file, suffix)
        assets.write_picture(file.path, target, review)
        self._assets[file.path] = self.shown(target)
        self.account.write("image")

    def _sound(self, file: SourceFile) -> None:
        target = self.place("sounds", file, assets.sound_suffix(file.path))
        assets.write_sound(file.path, target)
        self._assets[file.path] = self.shown(target)
        self.account.write("sound")

    def _table(self, file: SourceFile, tables: Tables, part: Table) -> None:
        target = self.place("tables", file, ".csv")
        tables.write(file, part, target, self.shown(target))

    def _beside(self, shown: str | None) -> str | None:
        """The path of an asset as seen from a folder of OUT."""
        return None if shown is None else f"../{shown}"

    def _sweep(self) -> None:
        """Remove what an earlier run left that this one did not write."""
        for path in sorted(self.out.rglob("*"), reverse=True):
            if path.is_dir():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path not in self._made and path != self.out / REPORT:
                path.unlink()


def _check_out(source: Path, out: Path, held: Path) -> None:
    """Refuse a folder that holds anything else, and one inside the source or around it."""
    place, top = out.resolve(), source.resolve()
    for folder, what in ((place, out), (held.resolve(), held)):
        if folder == top or folder.is_relative_to(top) or top.is_relative_to(folder):
            raise InputError(str(what), expected="a folder apart from the delivery", got="one in it, or around it")
    if place.is_relative_to(held.resolve()) or held.resolve().is_relative_to(place):
        raise InputError(str(held), field="--held", expected="a folder outside OUT", got="one in it, or around it")
    if out.exists() and not out.is_dir():
        raise InputError(str(out), expected="a folder, or nothing yet", got="a file")
    if out.is_dir() and any(out.iterdir()) and not _is_ours(out / REPORT):
        raise InputError(
            str(out), expected="a new or empty folder, or one of an earlier run", got="a folder with other files",
            hint="name another folder",
        )  # fmt: skip


def _is_ours(report: Path) -> bool:
    try:
        found = orjson.loads(report.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    return isinstance(found, dict) and found.get("state") in ("unfinished", "finished")
