"""An OMOP CDM in a real PostgreSQL gives the same observations as its DuckDB, CSV and Parquet forms."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ingest.errors import InputError
from ingest.fetch.omop_database import copy_database
from ingest.run import ingest
from ingest.store import read_observations
from ingest.workspace import Workspace, create_workspace

TYPES = {"int64": "bigint", "double": "numeric", "date32[day]": "date", "timestamp[us]": "timestamp", "string": "text"}


@pytest.mark.parametrize(
    "url", ["mysql://x/y", "postgresql://u:s3cret@x/y", "postgresql://x/y?password=s3cret", "host=x", "postgresql://x"]
)
def test_an_address_that_is_none_or_holds_a_password_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="--omop") as error:
        copy_database(url, "public", tmp_path)
    assert "s3cret" not in str(error.value)


def test_a_port_where_nobody_listens_is_one_error(tmp_path: Path, servers: ModuleType) -> None:
    with pytest.raises(InputError, match="check host and port"):
        copy_database(f"postgresql://reader@127.0.0.1:{servers.free_port()}/cdm", "public", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, servers: ModuleType) -> Iterator[Any]:
    with servers.postgres(tmp_path_factory.mktemp("pg") / "server") as running:
        yield running


def fill(url: str, cdm: ModuleType, tables: Any, schemas: dict[str, str]) -> None:
    """Make the tables; `schemas`: where each is, public by default."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        for schema in set(schemas.values()):
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        for name, rows in tables.items():
            table, where = cdm.arrow(name, rows), f"{schemas.get(name, 'public')}.{name}"
            columns = ", ".join(f"{field.name} {TYPES[str(field.type)]}" for field in table.schema)
            connection.execute(f"DROP TABLE IF EXISTS {where}; CREATE TABLE {where} ({columns})")
            with connection.cursor().copy(f"COPY {where} FROM STDIN") as copy:
                for row in table.to_pylist():
                    copy.write_row(list(row.values()))


def facts(workspace: Workspace) -> list[str]:
    """Everything that is known, but for the files that it came from."""
    return sorted(map(str, read_observations(workspace).drop(["source_file"]).to_pylist()))


@pytest.mark.slow
@pytest.mark.servers
def test_all_four_forms_give_the_same_observations(tmp_path: Path, cdm: ModuleType, database: Any) -> None:
    tables = cdm.small_cdm()
    fill(database.url(), cdm, tables, {"concept": "vocabulary"})
    found = {}
    for form in ("postgresql", *cdm.WRITERS):
        workspace = create_workspace(tmp_path / form / "ws", b"one key")
        if form == "postgresql":
            source = copy_database(database.url(), "public, vocabulary", workspace.incoming)
            assert source.name.startswith("omop-")
        else:
            source = cdm.WRITERS[form](tmp_path / form / "delivery", tables)
        account = ingest(workspace, [source], timezone="Europe/Berlin")
        assert (account.total.refused, account.subjects) == (0, 3)
        found[form] = facts(workspace)
    assert len(found["postgresql"]) >= 20
    assert all(each == found["postgresql"] for each in found.values()), found


@pytest.mark.slow
@pytest.mark.servers
def test_a_second_copy_gives_only_what_is_new_or_changed(tmp_path: Path, cdm: ModuleType, database: Any) -> None:
    import psycopg

    fill(database.url(), cdm, cdm.small_cdm(), {})
    workspace = create_workspace(tmp_path / "ws")
    folder = copy_database(database.url(), "public", workspace.incoming)
    ingest(workspace, [folder], timezone="UTC")
    again = ingest(workspace, [copy_database(database.url(), "public", workspace.incoming)], timezone="UTC")
    assert (again.total.used, again.total.refused) == (0, 0)
    with psycopg.connect(database.url(), autocommit=True) as connection:
        connection.execute("UPDATE measurement SET value_as_number = 99 WHERE measurement_id = 901")
        connection.execute(
            "INSERT INTO measurement (measurement_id, person_id, measurement_concept_id, measurement_date, "
            "value_as_number) VALUES (999, 12, 3027018, '2026-03-09', 70)"
        )
    third = ingest(workspace, [copy_database(database.url(), "public", workspace.incoming)], timezone="UTC")
    assert (third.total.used, third.total.refused) == (2, 0)
    rates = {row["numeric_value"] for row in read_observations(workspace, ["LOINC//8867-4"]).to_pylist()}
    assert rates == {99.0, 92.5, 70.0}


@pytest.mark.slow
@pytest.mark.servers
def test_nothing_can_be_written_and_what_fails_is_one_error(tmp_path: Path, cdm: ModuleType, database: Any) -> None:
    import psycopg

    fill(database.url(), cdm, cdm.small_cdm(), {})
    with psycopg.connect(database.url(), autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN")
        connection.execute("CREATE SCHEMA IF NOT EXISTS trap")
        connection.execute("CREATE SEQUENCE IF NOT EXISTS trap.s")
        connection.execute("CREATE OR REPLACE VIEW trap.person AS SELECT nextval('trap.s') AS person_id")
    for url, schema, words in (
        (database.url("nowhere"), "public", "no database of this name"),
        (database.url(), "empty", "the schema that has the table person"),
        (database.url().replace("postgres@", "stranger@"), "public", "no right to read|the schema that has"),
        (database.url().replace("postgres@", "nobody@"), "public", "refusal of the user|no database of this name"),
        (database.url(), "trap", "an error 25006"),  # read_only_sql_transaction
    ):
        with pytest.raises(InputError, match=words):
            copy_database(url, schema, tmp_path)
    assert list(tmp_path.rglob("*.csv")) == []
