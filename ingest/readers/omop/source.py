"""Where the tables of an OMOP CDM are: files, or a DuckDB database; opened so that nothing else can be reached."""

import gzip
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile
from ingest.errors import InputError
from ingest.machine import cores
from ingest.readers.omop.tables import CONCEPT, CONCEPT_COLUMNS, PERSON, PERSON_COLUMNS, TABLES

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY = "256MB"  # of DuckDB; what it sorts beyond that goes to disk
BATCH_ROWS = 65_536
MAX_LINE_BYTES = 2 * 1024 * 1024
MAX_NOTE_BYTES = 16 * 1024 * 1024  # a note's text is in one line, quoted
_THREADS = 4  # each has buffers of its own
_MAGIC, _MAGIC_AT = b"DUCK", 8
_SUFFIX = re.compile(r"\.(csv|csv\.gz|tsv|parquet)$", re.IGNORECASE)
COLUMNS: dict[str, tuple[str, ...]] = {
    PERSON: PERSON_COLUMNS, CONCEPT: CONCEPT_COLUMNS, **{name: table.columns for name, table in TABLES.items()},
}  # fmt: skip
_NEEDED: dict[str, tuple[str, ...]] = {
    PERSON: ("person_id",), CONCEPT: CONCEPT_COLUMNS, **{name: ("person_id", t.key) for name, t in TABLES.items()},
}  # fmt: skip


_RAGGED = Refusal("", "a row with as many cells as the header", "another")
_REJECTED = {  # what DuckDB calls it -> what is wrong
    "INVALID ENCODING": Refusal("", "text in UTF-8", "bytes that are not", "export it as UTF-8"),
    "UNQUOTED VALUE": Refusal("", "a quote that is closed", "one that is not: rows after it may be within it"),
    "LINE SIZE OVER MAXIMUM": Refusal("", "a shorter row", "one that is too long, or a quote that is not closed"),
}


@dataclass(frozen=True)
class Relation:
    """One table, or a part of one: the file that holds it, and how DuckDB calls it."""

    table: str
    file: SourceFile
    sql: str
    types: Mapping[str, str]  # column in lower case -> DuckDB's name of its type
    is_csv: bool


@dataclass(frozen=True)
class Model:
    """One CDM: the files of a folder, or one database."""

    files: tuple[SourceFile, ...]
    is_database: bool


def is_database(file: SourceFile) -> bool:
    """Whether a file is a DuckDB database, by its magic word."""
    return file.head[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] == _MAGIC


def table_name(file: SourceFile) -> str | None:
    """Which table of the CDM a file holds, by its name (or its folder's, for one in several parts) and its columns."""
    if not (found := _SUFFIX.search(file.path.name)):
        return None
    stem = file.path.name[: found.start()].lower()
    parent = file.path.parent.name.lower() if file.path.parent.is_relative_to(file.root) else ""
    name = stem if stem in COLUMNS else parent
    if name not in COLUMNS:
        return None
    header = _parquet_header(file) if found[1].lower() == "parquet" else _csv_header(file)
    return name if set(_NEEDED[name]) <= {column.lower() for column in header} else None


def models(files: Sequence[SourceFile]) -> list[Model]:
    """The CDMs of a delivery: each database, and each folder's files together."""
    folders: dict[Path, list[SourceFile]] = {}
    found = []
    for file in files:
        if is_database(file):
            found.append(Model((file,), is_database=True))
        else:
            stem = _SUFFIX.sub("", file.path.name).lower()
            folders.setdefault(file.path.parent if stem in COLUMNS else file.path.parent.parent, []).append(file)
    return [*(Model(tuple(each), is_database=False) for each in folders.values()), *found]


class Opened:
    """A CDM that can be asked: its relations by table, and rows in batches."""

    def __init__(self, connection: "DuckDBPyConnection", relations: list[Relation], where: str) -> None:
        self._connection, self._where = connection, where
        self.relations = relations

    def of(self, table: str) -> list[Relation]:
        return [relation for relation in self.relations if relation.table == table]

    def batches(self, relation: Relation, select: str) -> Iterator[pa.RecordBatch]:
        """The rows that `select` takes from `source`, the relation with its rows numbered (n) from 1."""
        numbered = f"SELECT *, row_number() OVER () AS n FROM {relation.sql}"  # noqa: S608 - paths quoted below
        # On the connection itself: what a CSV file's scan rejects is kept by connection.
        yield from _read(self._connection, f"WITH source AS ({numbered}) {select}", self._where)

    def ask(self, sql: str) -> Iterator[pa.RecordBatch]:
        """The answer to a query, as it comes."""
        yield from _read(self._connection.cursor(), sql, self._where)

    def keep(self, name: str, sql: str, *, copy: bool) -> None:
        """Give a query a name for as long as the CDM is open; `copy`: ask it once, and keep what it said."""
        self._connection.execute(f"CREATE {'TABLE' if copy else 'VIEW'} {name} AS {sql}")

    def broken(self, relation: Relation) -> list[tuple[int, str, Refusal]]:
        """(row, its text, why) of what could not be read as a row, of a CSV file that was read to its end."""
        if not relation.is_csv:
            return []
        found = self._connection.execute(
            "SELECT line - 1, any_value(csv_line), min(error_type::VARCHAR) "
            "FROM rejected JOIN rejected_scans USING (scan_id, file_id) WHERE file_path = ? GROUP BY ALL ORDER BY 1",
            [str(relation.file.path)],
        ).fetchall()
        return [(int(row), str(text), _REJECTED.get(kind, _RAGGED)) for row, text, kind in found]


def _read(connection: "DuckDBPyConnection", sql: str, where: str) -> Iterator[pa.RecordBatch]:
    try:
        reader = connection.sql(sql).to_arrow_reader(BATCH_ROWS)
    except pa.ArrowException as error:
        raise _broken(where, error) from None
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except (pa.ArrowException, OSError) as error:
            raise _broken(where, error) from None
        yield batch


def _broken(where: str, error: Exception) -> InputError:
    return InputError(
        where, expected="an OMOP CDM that can be read to its end", got=f"an error of DuckDB ({type(error).__name__})",
        hint="is the file whole?",
    )  # fmt: skip


@contextmanager
def opened(model: Model) -> Iterator[Opened]:
    """Open a CDM, read-only. Raises InputError for what DuckDB cannot read; what is asked later may raise duckdb.Error.

    Nothing but the CDM's own files can be reached from inside, whatever a view or a file's name says.
    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix="telltale-") as spill:
        connection = duckdb.connect(
            ":memory:",
            config={
                "autoinstall_known_extensions": False, "autoload_known_extensions": False, "memory_limit": MEMORY,
                "temp_directory": spill, "allow_community_extensions": False,
                "threads": min(_THREADS, cores()),
            },
        )  # fmt: skip
        where = model.files[0].name if model.is_database else model.files[0].path.parent.name
        try:
            connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
            yield Opened(connection, _relations(connection, model), where)
        except duckdb.Error as error:
            raise _broken(where, error) from None
        finally:
            connection.close()


def _relations(connection: "DuckDBPyConnection", model: Model) -> list[Relation]:
    if model.is_database:
        (file,) = model.files
        connection.execute(f"ATTACH {_literal(str(file.path))} AS cdm (READ_ONLY, TYPE duckdb)")
        _lock(connection, [])
        found = connection.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'cdm' "
            "UNION ALL SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = 'cdm' AND NOT internal"
        ).fetchall()
        wanted = [
            (str(name).lower(), file, f'cdm."{_escaped(schema)}"."{_escaped(name)}"', False)
            for schema, name in sorted(found)
            if str(name).lower() in COLUMNS
        ]
    else:
        _lock(connection, [str(file.path) for file in model.files])
        wanted = [
            (name, file, *_scan(file, name)) for file in model.files if (name := table_name(file)) is not None
        ]  # fmt: skip
    relations = []
    for name, file, sql, is_csv in wanted:
        described = connection.execute(f"DESCRIBE SELECT * FROM {sql}").fetchall()  # noqa: S608 - quoted above
        types = {str(column[0]).lower(): str(column[1]) for column in described}
        relations.append(Relation(name, file, sql, types, is_csv))
    return relations


def _lock(connection: "DuckDBPyConnection", paths: list[str]) -> None:
    listed = ", ".join(_literal(path) for path in paths)
    connection.execute(f"SET allowed_paths = [{listed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _scan(file: SourceFile, name: str) -> tuple[str, bool]:
    """(how DuckDB reads the file, whether it is CSV)."""
    path = _literal(str(file.path))
    if file.head[:4] == b"PAR1":
        return f"read_parquet({path})", False
    line = _first_line(file)
    delimiter = _delimiter(line)
    # The vocabulary as Athena delivers it: tabs, and quotes that are part of a name.
    quote = "" if name == CONCEPT and delimiter == "\t" else '"'
    longest = MAX_NOTE_BYTES if name == "note" else MAX_LINE_BYTES
    columns = ", ".join(f"{_literal(column)}: 'VARCHAR'" for column in _split(line, delimiter))
    return (
        f"read_csv({path}, auto_detect = false, header = true, delim = {_literal(delimiter)}, "
        f"quote = {_literal(quote)}, escape = {_literal(quote)}, columns = {{{columns}}}, nullstr = '', "
        "ignore_errors = true, store_rejects = true, rejects_table = 'rejected', rejects_scan = 'rejected_scans', "
        f"max_line_size = {longest}, buffer_size = {2 * longest}, strict_mode = true)"
    ), True


def _csv_header(file: SourceFile) -> list[str]:
    line = _first_line(file)
    return _split(line, _delimiter(line))


def _first_line(file: SourceFile) -> str:
    head = file.head
    if head[:2] == b"\x1f\x8b":
        try:
            with gzip.open(file.path) as opened_file:
                head = opened_file.read(8192)
        except (OSError, EOFError, zlib.error):
            return ""
    return re.split(r"[\r\n]", head.decode("utf-8-sig", "replace"), maxsplit=1)[0]


def _delimiter(line: str) -> str:
    return max(",\t;|", key=line.count)


def _split(line: str, delimiter: str) -> list[str]:
    return [cell.strip().strip('"') for cell in line.split(delimiter)]


def _parquet_header(file: SourceFile) -> list[str]:
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(file.path).names)
    except (pa.ArrowException, OSError):
        return []


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _escaped(name: Any) -> str:
    return str(name).replace('"', '""')
