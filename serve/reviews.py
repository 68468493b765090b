"""What reviewers said of scored cases: agree or override, with a comment. Kept in the database, never changed."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ingest.errors import InputError
from models.database import opened

Verdict = Literal["agree", "override"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS reviews (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task TEXT NOT NULL,
    case_id TEXT NOT NULL,
    model_version TEXT NOT NULL,
    reviewer TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('agree', 'override')),
    risk REAL NOT NULL,
    own_risk REAL,
    comment TEXT NOT NULL,
    reviewed_at TEXT NOT NULL
)
"""
COLUMNS = "task, case_id, model_version, reviewer, verdict, risk, own_risk, comment, reviewed_at"


@dataclass(frozen=True)
class Review:
    """One reviewer's word on one scored case. risk: what was shown; own_risk: what the reviewer puts in its place."""

    task: str
    case_id: str
    model_version: str
    reviewer: str
    verdict: Verdict
    risk: float
    own_risk: float | None
    comment: str
    reviewed_at: str


def add_review(
    database: Path,
    *,
    task: str,
    case_id: str,
    model_version: str,
    reviewer: str,
    verdict: Verdict,
    risk: float,
    own_risk: float | None = None,
    comment: str = "",
) -> Review:
    """Keep a review. An override needs a comment or a risk of the reviewer's own (0 to 1)."""
    if verdict == "override" and own_risk is None and not comment.strip():
        raise InputError("review", case_id, "comment", expected="a reason or a risk of your own", got="neither")
    if own_risk is not None and not 0 <= own_risk <= 1:
        raise InputError("review", case_id, "own_risk", expected="a risk from 0 to 1", got=f"{own_risk}")
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    review = Review(task, case_id, model_version, reviewer, verdict, risk, own_risk, comment.strip(), now)
    with opened(database, SCHEMA) as connection:
        marks = ", ".join("?" * 9)
        connection.execute(f"INSERT INTO reviews ({COLUMNS}) VALUES ({marks})", tuple(vars(review).values()))  # noqa: S608  # both are constants
    return review


def reviews(database: Path, task: str, case_id: str | None = None) -> list[Review]:
    """The reviews of a task or of one of its cases, oldest first."""
    if not database.is_file():
        return []
    with opened(database, SCHEMA) as connection:
        rows = connection.execute(
            f"SELECT {COLUMNS} FROM reviews WHERE task = ? AND (? IS NULL OR case_id = ?) ORDER BY id",  # noqa: S608
            (task, case_id, case_id),
        ).fetchall()
    return [Review(*row) for row in rows]
