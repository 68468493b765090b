"""What a delivery holds: subjects, modalities, the span of time, and what is missing for whom."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.errors import InputError
from ingest.files import write_text
from ingest.observations import BIRTH_CODE

if TYPE_CHECKING:
    import duckdb

    from ingest.account.reconciliation import Reconciliation

TEMPLATE = "summary.html.j2"
CODES_SHOWN = 200
NOTE_CHARACTERS = 100  # a text that is longer is a note, not the name of something
FEW = 5  # of fewer subjects only counts are told: a date or a value would be somebody's
MEMORY = "256MB"

_KIND = f"""
CASE
    WHEN o.asset IS NOT NULL THEN CASE
        WHEN o.code LIKE 'DICOM//%' THEN coalesce(c.kind, 'image') || ' ' || split_part(o.code, '//', 2)
        ELSE coalesce(c.kind, 'image or sound') END
    WHEN o.numeric_value IS NOT NULL THEN 'measurements'
    WHEN length(o.text_value) > {NOTE_CHARACTERS} THEN 'notes'
    WHEN o.time IS NULL THEN 'static facts'
    ELSE 'events'
END
"""


_SPAN = f"min(time) FILTER (code <> '{BIRTH_CODE}'), max(time) FILTER (code <> '{BIRTH_CODE}')"


@dataclass(frozen=True)
class Row:
    """A modality or a code: how many observations of how many subjects, from when until when.

    title: what a code is called in the vocabulary, empty where it has none. units, low, median, high: of numeric
    values; low and high are the 5th and 95th percentile (approximate). Months and values are left out where there are
    fewer than `FEW` subjects.
    """

    name: str
    observations: int
    subjects: int
    first: str
    last: str
    title: str = ""
    units: tuple[str, ...] = ()
    low: float | None = None
    median: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Summary:
    """The new observations of one ingest. `codes_in_all`: how many codes there are, of which the first are listed."""

    subjects: int
    observations: int
    first: str
    last: str
    modalities: tuple[Row, ...]
    codes: tuple[Row, ...]
    codes_in_all: int

    @classmethod
    def nothing(cls) -> "Summary":
        """The summary of an ingest that brought nothing new."""
        return cls(0, 0, "", "", (), (), 0)

    def missing(self, row: Row) -> float:
        """The share of subjects without a modality or code."""
        return 1 - row.subjects / self.subjects if self.subjects else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def summarise(part: Path, catalogue: Path, scratch: Path, titles: Mapping[str, str]) -> Summary:
    """Look through one part of the observation table, in bounded memory (`scratch`: a folder for what exceeds it).

    titles: what codes are called.
    """
    import duckdb

    database = duckdb.connect(config={"memory_limit": MEMORY, "threads": 2, "temp_directory": str(scratch)})
    try:
        kinds = "(SELECT NULL AS asset_sha256, NULL AS kind WHERE false)"
        if catalogue.is_file():
            kinds = f"(SELECT DISTINCT asset_sha256, kind FROM read_parquet({_quoted(catalogue)}))"  # noqa: S608
        database.execute(
            f"CREATE VIEW o AS SELECT o.*, {_KIND} AS modality FROM read_parquet({_quoted(part)}) AS o "  # noqa: S608
            f"LEFT JOIN {kinds} AS c ON o.asset_sha256 = c.asset_sha256"
        )
        totals = _one(database, f"SELECT count(*), count(DISTINCT subject_id), {_SPAN} FROM o")  # noqa: S608
        codes_in_all = _one(database, "SELECT count(DISTINCT code) FROM o")[0]
        return Summary(
            subjects=totals[1],
            observations=totals[0],
            first=_month(totals[2], totals[1]),
            last=_month(totals[3], totals[1]),
            modalities=_rows(database, "modality", 100, {}),
            codes=_rows(database, "code", CODES_SHOWN, titles),
            codes_in_all=codes_in_all,
        )
    except duckdb.Error as error:
        raise InputError(
            str(part), expected="observations that can be summarised, and room to do it", got=type(error).__name__
        ) from None
    finally:
        database.close()


def write_page(path: Path, account: "Reconciliation") -> None:
    """Write account and summary as one self-contained HTML page. All texts are escaped."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("ingest.account", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    write_text(path, environment.get_template(TEMPLATE).render(account=account, summary=account.summary))


def _rows(database: "duckdb.DuckDBPyConnection", by: str, most: int, titles: Mapping[str, str]) -> tuple[Row, ...]:
    found = database.execute(
        f"SELECT {by}, count(*), count(DISTINCT subject_id), {_SPAN}, "  # noqa: S608 - our own names
        "list(DISTINCT unit) FILTER (unit IS NOT NULL), approx_quantile(numeric_value, [0.05, 0.5, 0.95]) "
        f"FROM o GROUP BY {by} ORDER BY count(DISTINCT subject_id) DESC, count(*) DESC, {by} LIMIT {most}"
    ).fetchall()
    rows = []
    for name, observations, subjects, first, last, units, quantiles in found:
        numbers: Mapping[str, Any] = {}
        if by == "code" and subjects >= FEW and quantiles is not None and quantiles[0] is not None:
            numbers = dict(zip(("low", "median", "high"), map(float, quantiles), strict=True))
        some = tuple(sorted(units or [])) if by == "code" else ()
        span = _month(first, subjects), _month(last, subjects)
        rows.append(Row(name, observations, subjects, *span, titles.get(name, ""), some, **numbers))
    return tuple(rows)


def _one(database: "duckdb.DuckDBPyConnection", query: str) -> tuple[Any, ...]:
    row = database.execute(query).fetchone()
    assert row is not None
    return row


def _month(moment: Any, subjects: int) -> str:
    return "" if moment is None or subjects < FEW else f"{moment:%Y-%m}"


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
