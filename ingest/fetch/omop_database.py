"""An OMOP CDM in PostgreSQL: its tables are copied as CSV, one consistent snapshot of them, and read as files are."""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from ingest.errors import InputError
from ingest.files import replacing_folder
from ingest.readers.omop.source import COLUMNS
from ingest.readers.omop.tables import PERSON

if TYPE_CHECKING:
    from psycopg import Connection

CONNECT_SECONDS = 10
Progress = Callable[[int, int, str], None]  # (bytes so far, tables done, the table being copied)
_EXPECTED = "an address such as postgresql://reader@host/cdm"
# SQLSTATE classes and codes of PostgreSQL, appendix A, that a user can do something about.
_MEANING = {
    "28": ("a refusal of the user or the password", "set PGPASSWORD, or add the server to ~/.pgpass"),
    "3D": ("no database of this name", "check the name after the last / of the address"),
    "42501": ("no right to read", "ask for SELECT on the tables of the CDM"),
    "53": ("a server without resources for another connection", "run it again later"),
    "57": ("a server that is going down, or ended the query", "run it again"),
}


def copy_database(
    url: str, schemas: str, incoming: Path, *, progress: Progress = lambda done, tables, name: None
) -> Path:
    """Copy the columns that are read, of the tables that are there, to `incoming`/omop-<digest>; that folder.

    schemas: one, or several by comma, where the vocabulary lives apart; a table is taken from the first that has it.
    All in one read-only transaction (repeatable read), so that rows agree; block by block, so that memory does not
    grow. An earlier copy is replaced as a whole. A password comes from the environment or ~/.pgpass, by libpq.
    Raises InputError where the server, its database or the table person cannot be had.
    """
    where = _checked(url)
    searched = [name.strip() for name in schemas.split(",") if name.strip()]
    folder = incoming / f"omop-{hashlib.sha256(f'{where} {searched}'.encode()).hexdigest()[:24]}"
    try:
        with _connected(url, where) as connection, replacing_folder(folder) as temporary:
            tables = _tables(connection, searched)
            if PERSON not in tables:
                raise InputError(
                    where, field="--omop-schema", expected="the schema that has the table person",
                    got=", ".join(searched) or "none",
                )  # fmt: skip
            for number, (name, (schema, columns)) in enumerate(sorted(tables.items())):
                for done in _copy(connection, schema, name, columns, temporary / f"{name}.csv"):
                    progress(done, number, name)
    except OSError as error:
        raise InputError(
            str(folder), expected="room to write", got=error.strerror or type(error).__name__,
            hint="make room, and run it again",
        ) from None  # fmt: skip
    return folder


def _checked(url: str) -> str:
    """The address as it may be shown. Raises InputError for one that is none, or that carries a password."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise InputError("", field="--omop", expected=_EXPECTED, got="something else") from None
    if parts.scheme not in {"postgresql", "postgres"} or not parts.path.strip("/"):
        raise InputError("", field="--omop", expected=_EXPECTED, got="something else")
    if parts.password is not None or any(key.lower() == "password" for key, _ in parse_qsl(parts.query)):
        raise InputError(
            "", field="--omop", expected="an address without a password", got="one with a password",
            hint="set PGPASSWORD, or add the server to ~/.pgpass",
        )  # fmt: skip
    user = f"{parts.username}@" if parts.username else ""
    return f"postgresql://{user}{host}{port}{parts.path}"


@contextmanager
def _connected(url: str, where: str) -> Iterator["Connection"]:
    """A connection whose one transaction reads, and sees one state of the database. Raises InputError."""
    try:
        import psycopg
    except ImportError:
        raise InputError(
            "", field="--omop", expected="the extra 'network'", got="no psycopg", hint="pip install 'telltale[network]'"
        ) from None
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_SECONDS, application_name="telltale") as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            # The same rows in the same order the next time; and times in one form, whatever the server prefers.
            for setting in ("synchronize_seqscans = off", "TimeZone = 'UTC'", "DateStyle = 'ISO, YMD'"):
                connection.execute(f"SET {setting}")
            connection.execute("SET extra_float_digits = 1")
            yield connection
    except psycopg.Error as error:
        raise _explained(where, error) from None


def _explained(where: str, error: "Exception") -> InputError:
    """What went wrong, by its SQLSTATE; libpq gives none where there is no connection, but says it in words."""
    state = getattr(error, "sqlstate", None) or ""
    got, hint = _MEANING.get(state) or _MEANING.get(state[:2]) or ("", "")
    if not got and (
        found := re.search(r"[Cc]onnection refused|timeout|could not translate|[Nn]ame or service", str(error))
    ):
        got, hint = f"no connection ({found[0].lower()})", "check host and port, and that the server runs"
    if not got and "password" in str(error):
        got, hint = _MEANING["28"]
    if not got and "does not exist" in str(error) and not state:
        got, hint = _MEANING["3D"]
    return InputError(
        where, field="--omop", expected="a PostgreSQL database that can be read",
        got=got or f"an error {state or type(error).__name__}", hint=hint,
    )  # fmt: skip


def _tables(connection: "Connection", schemas: list[str]) -> dict[str, tuple[str, list[str]]]:
    """The tables of the CDM that are there: name -> (schema, those of its columns that are read)."""
    rows = connection.execute(
        "SELECT table_schema, lower(table_name), column_name FROM information_schema.columns "
        "WHERE table_schema = ANY(%s) AND lower(table_name) = ANY(%s) ORDER BY ordinal_position",
        (schemas, list(COLUMNS)),
    ).fetchall()
    found: dict[str, tuple[str, list[str]]] = {}
    for schema in schemas:
        for name in COLUMNS:
            columns = [column for s, n, column in rows if s == schema and n == name and column.lower() in COLUMNS[name]]
            if columns and name not in found:
                found[name] = (schema, columns)
    return found


def _copy(connection: "Connection", schema: str, name: str, columns: list[str], path: Path) -> Iterator[int]:
    """Write one table as CSV, and give the bytes written so far, block by block."""
    from psycopg import sql

    statement = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT csv, HEADER true)").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(schema, name)
    )
    written = 0
    with path.open("wb") as file, connection.cursor() as cursor, cursor.copy(statement) as copy:
        for block in copy:
            written += file.write(block)
            yield written
