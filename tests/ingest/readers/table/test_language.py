"""The words of a mapping, each by what becomes of a table that needs it."""

import datetime as dt
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from ingest.account.reconciliation import Reconciliation
from ingest.errors import InputError
from ingest.meaning.vocabulary import Quantity, Vocabulary
from ingest.run import ingest
from ingest.store import read_observations
from ingest.workspace import Workspace

Take = Callable[..., Reconciliation]
ZERO = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - MEDS stores UTC without a zone
SUBJECT = {"column": "who", "issuer": "lab"}


@pytest.fixture
def take(workspace: Workspace, delivery: Path) -> Take:
    """Write a table, read it by a mapping of one part, and give the account."""

    def run(text: str | bytes, *columns: dict[str, Any], name: str = "t.csv", **part: Any) -> Reconciliation:
        options = {key: part.pop(key) for key in ("timezone", "vocabulary") if key in part}
        path = delivery / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        mapping = delivery.parent / "mapping.yaml"
        part = {"path": path.name, "subject": SUBJECT, "columns": list(columns), **part}
        mapping.write_text(yaml.safe_dump({"files": [part]}))
        return ingest(workspace, [delivery], mapping=mapping, **options)

    return run


@pytest.fixture
def rows(workspace: Workspace) -> Callable[[], list[dict[str, Any]]]:
    """The observations, in the order of file and row."""

    def read() -> list[dict[str, Any]]:
        found = read_observations(workspace).to_pylist()
        return sorted(found, key=lambda row: (row["source_file"], int(row["source_record"].split()[1]), row["code"]))

    return read


def test_a_long_table_names_its_codes_and_units_in_cells(take: Take, rows: Callable[[], Any]) -> None:
    code = {"column": "test", "prefix": "LAB//", "map": {"Na": "LOINC//2951-2"}}
    unit = {"column": "unit", "map": {"mEq/L": "meq/L"}}
    text = "who,test,value,unit\n1,Na,140,mEq/L\n1,K,4.5,mmol/L\n1,,3,\n2,Na,,mEq/L\n"
    account = take(text, {"code": code, "column": "value", "kind": "numeric", "unit": unit})
    assert [(r["code"], r["numeric_value"], r["unit"]) for r in rows()] == [
        ("LOINC//2951-2", 140.0, "meq/L"),
        ("LAB//K", 4.5, "mmol/L"),
    ]
    assert account.skip_reasons == {"test that the mapping does not name": 1}


def test_a_code_of_a_map_has_a_unit_and_nulls_of_its_own(take: Take, rows: Callable[[], Any]) -> None:
    known = {"HR": {"code": "H", "unit": "/min", "null": [-1]}, "T": {"code": "T", "unit": "Cel"}}
    column = {"code": {"column": "p", "map": known, "others": "skip"}, "column": "v", "kind": "numeric"}
    account = take("who,p,v\n1,HR,80\n1,HR,-1\n1,HR,-1.0\n1,T,-1\n1,Other,5\n", column)
    assert [(r["code"], r["numeric_value"], r["unit"]) for r in rows()] == [("H", 80.0, "/min"), ("T", -1.0, "Cel")]
    assert (account.total.used, account.total.skipped) == (4, 1)


def test_a_pattern_takes_a_part_of_a_cell(take: Take, rows: Callable[[], Any]) -> None:
    columns = [
        {"code": {"column": "path", "pattern": r"^([^|]+)\|", "prefix": "DX//"}, "kind": "flag"},
        {"code": "SYS", "column": "bp", "kind": "numeric", "pattern": r"^(\d+)/"},
    ]
    take("who,path,bp\n1,lung|failure,120/80\n1,whole,none\n", *columns)
    assert [(r["code"], r["numeric_value"]) for r in rows()] == [("DX//lung", None), ("SYS", 120.0)]


def test_replaced_cells_are_read_as_what_stands_for_them(take: Take, rows: Callable[[], Any]) -> None:
    age = {"code": "AGE", "column": "age", "kind": "numeric", "replace": {"> 89": "90"}}
    sex = {"code": "SEX", "column": "sex", "replace": {"0": "female", "1": "male", "-1": ""}}
    take("who,age,sex\n1,> 89,0\n2,40,1\n3,50,-1\n", age, sex)
    assert [(r["numeric_value"], r["text_value"]) for r in rows()] == [
        (90.0, None), (None, "female"), (40.0, None), (None, "male"), (50.0, None)
    ]  # fmt: skip


def test_a_column_may_be_about_some_rows_and_have_its_own_time(take: Take, rows: Callable[[], Any]) -> None:
    columns = [
        {"code": "START", "kind": "flag", "time": {"at": 0, "unit": "min"}},
        {"code": "DEATH", "kind": "flag", "where": {"end": ["Expired"]}, "time": {"column": "left", "unit": "min"}},
        {"code": "SEX", "column": "sex"},
    ]
    take("who,end,left,sex\n1,Expired,90,f\n2,Alive,30,m\n", *columns)
    found = {(r["code"], r["time"]) for r in rows()}
    assert found == {("START", ZERO), ("DEATH", ZERO + dt.timedelta(minutes=90)), ("SEX", None)}


def test_hours_and_minutes_and_a_length_that_is_added(take: Take, rows: Callable[[], Any]) -> None:
    time = {"column": "t", "unit": "hh:mm"}
    known = {**time, "plus": {"column": "lasting", "unit": "min"}, "missing": "static"}
    text = "who,t,lasting,v\n1,36:07,30,1\n1,00:00,,2\n1,1:75,5,3\n"
    account = take(text, {"code": "V", "column": "v"}, time=time, available_time=known)
    assert [(r["time"] - ZERO, r["available_time"] - ZERO) for r in rows()] == [
        (dt.timedelta(hours=36, minutes=7), dt.timedelta(hours=36, minutes=37)),
        (dt.timedelta(0), dt.timedelta(0)),
    ]
    assert "hours and minutes" in str(account.refusals[0])


def test_the_subject_may_stand_in_the_files_name(take: Take, workspace: Workspace, rows: Callable[[], Any]) -> None:
    named = {"subject": {"name": r"(\d+)", "issuer": "lab"}, "path": "set/*.txt"}
    take("v\n1\n", {"code": "V", "column": "v"}, name="set/17.txt", **named)
    account = take(
        "v\n1\n", {"code": "V", "column": "v"}, name="set/18.txt", **named
    )  # the same content, another person
    assert (account.total.used, account.total.skipped) == (1, 1)
    account = take("v\n1\n", {"code": "V", "column": "v"}, name="set/nobody.txt", **named)
    assert "file name: expected a name that matches" in str(account.refusals[0])
    assert len({r["subject_id"] for r in rows()}) == 2
    assert {r["source_record"] for r in rows()} == {"row 1"}


@pytest.mark.parametrize("path", ["set/*.txt", "delivery/deep/set/*.txt", "*.txt"])
def test_a_glob_fits_from_any_folder_up(take: Take, path: str) -> None:
    assert take("who,v\n1,1\n", {"code": "V", "column": "v"}, name="deep/set/1.txt", path=path).total.used == 1


def test_defaults_hold_for_every_column_that_says_nothing_else(take: Take, rows: Callable[[], Any]) -> None:
    columns = [{"code": "A", "column": "a"}, {"code": "B", "column": "b", "kind": "text"}]
    take("who,a,b\n1,-1,x\n2,5,y\n", *columns, defaults={"kind": "numeric", "null": [-1]})
    assert [(r["code"], r["numeric_value"], r["text_value"]) for r in rows()] == [
        ("B", None, "x"), ("A", 5.0, None), ("B", None, "y")
    ]  # fmt: skip


def test_other_encodings_delimiters_and_decimal_commas(take: Take, rows: Callable[[], Any]) -> None:
    columns = [{"code": "V", "column": "größe", "kind": "numeric"}, {"code": "T", "column": "wort"}]
    text = "who;größe;wort\n1;1,5;süß\n2;kein;x\n".encode("latin-1")
    account = take(text, *columns, delimiter=";", encoding="latin-1", decimal=",")
    assert [(r["numeric_value"], r["text_value"]) for r in rows()] == [(None, "süß"), (1.5, None)]
    assert account.refusals[0].field == "größe"
    assert take("who\tv\n3\t2\n", {"code": "V", "column": "v"}, name="t.tsv").total.used == 1
    assert take(
        "who,v\n4,2\n".encode("utf-16"), {"code": "V", "column": "v"}, name="u.csv", encoding="utf-16"
    ).total.used


def test_a_byte_that_is_no_utf8_refuses_its_row_alone(take: Take, rows: Callable[[], Any]) -> None:
    """FAULTS 44, for tables."""
    account = take(b"who,t\n1,a\n2,b\xff\n3,c\n", {"code": "T", "column": "t"})
    assert [r["text_value"] for r in rows()] == ["a", "c"]
    assert str(account.refusals[0]) == "delivery/t.csv, row 2: expected text in UTF-8 in t, got bytes that are not"


def test_a_file_that_ends_early_gives_its_rows_and_says_so(take: Take, rows: Callable[[], Any]) -> None:
    whole = gzip.compress(b"who,v\n" + (b"1," + b"x" * 200 + b"\n") * 40_000)
    account = take(whole[:-1000], {"code": "V", "column": "v"}, name="t.csv.gz")
    assert account.total.used > 10_000
    assert "ends early" in str(account.refusals[-1])


def test_a_compressed_bomb_is_stopped(take: Take) -> None:
    """FAULTS 25, for tables."""
    bomb = gzip.compress(b"who,v\n" + (b"1," + b"1" * 200 + b"\n") * 340_000)
    account = take(bomb, {"code": "V", "column": "v"}, name="t.csv.gz", where={"v": ["2"]})
    assert "250 times its size" in str(account.refusals[0])


def test_a_quote_that_never_ends_spoils_no_row_before_it(take: Take, rows: Callable[[], Any]) -> None:
    text = 'who,t\n1,a\n2,"b\n' + "3,c\n" * 8_500_000
    account = take(text, {"code": "T", "column": "t"})
    assert [r["text_value"] for r in rows()] == ["a"]
    assert account.total.refused == 1
    assert "never closed" in str(account.refusals[0])


def test_quotes_within_cells_and_lines_within_quotes(take: Take, rows: Callable[[], Any]) -> None:
    text = 'who,t\n1,5" tube\n2,"two\nlines, ""quoted"""\n3,last"\n4,"x"\n'
    take(text, {"code": "T", "column": "t"})
    assert [r["text_value"] for r in rows()] == ['5" tube', 'two\nlines, "quoted"', 'last"', "x"]


def test_a_file_without_a_header_has_its_names_in_the_mapping(take: Take, rows: Callable[[], Any]) -> None:
    take("1,5\n2,6\n", {"code": "V", "column": "v", "kind": "numeric"}, names=["who", "v"])
    assert [r["numeric_value"] for r in rows()] == [5.0, 6.0]


def test_clocks_that_disagree_are_told_of_or_refused(take: Take, rows: Callable[[], Any]) -> None:
    """FAULTS 11, for tables."""
    times = {"time": {"column": "t", "unit": "h"}, "available_time": {"column": "k", "unit": "h"}}
    account = take("who,t,k,v\n1,10,12,1\n1,10,8,2\n1,100,8,3\n", {"code": "V", "column": "v"}, **times)
    assert [r["available_time"] - r["time"] for r in rows()] == [dt.timedelta(hours=2), dt.timedelta(0)]
    assert any("2 h" in note and note.startswith("k: clocks disagree") for note in account.notes)
    assert "92 h" in str(account.refusals[0]) or "3.83 days" in str(account.refusals[0])


WEIGHT = Quantity("W", "weight", "kg", plausible=(0.2, 650), conversions={"g": (0.001, 0.0)}, source="test")


@pytest.mark.parametrize(("implausible", "used", "refused"), [("refuse", 2, 1), ("null", 3, 0)])
def test_the_vocabulary_judges_numbers(
    take: Take, rows: Callable[[], Any], implausible: str, used: int, refused: int
) -> None:
    column = {"code": "W", "column": "w", "kind": "numeric", "unit": {"column": "u"}, "implausible": implausible}
    text = "who,w,u\n1,80,kg\n2,70000,g\n3,9000,kg\n"
    account = take(text, column, vocabulary=Vocabulary({"W": WEIGHT}))
    assert [(r["numeric_value"], r["unit"]) for r in rows()] == [(80.0, "kg"), (70.0, "kg")]
    assert (account.total.used, account.total.refused) == (used, refused)
    assert any("converted" in note for note in account.notes)


def test_parquet_has_types_of_its_own(take: Take, workspace: Workspace, delivery: Path, rows: Any) -> None:
    table = pa.table(
        {
            "who": pa.array([1, 2], pa.int32()),
            "t": pa.array([3600, None], pa.duration("s")),
            "v": pa.array([1.5, 2.5], pa.float32()),
            "b": pa.array([True, False]),
        }
    )
    columns = [{"code": "V", "column": "v", "kind": "numeric"}, {"code": "B", "column": "b"}]
    time = {"column": "t", "unit": "s", "missing": "static"}
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    take(sink.getvalue().to_pybytes(), *columns, name="t.parquet", time=time)
    assert [(r["time"], r["numeric_value"], r["text_value"]) for r in rows()] == [
        (ZERO + dt.timedelta(hours=1), None, "true"), (ZERO + dt.timedelta(hours=1), 1.5, None),
        (None, None, "false"), (None, 2.5, None),
    ]  # fmt: skip


def test_a_nested_parquet_column_stops_the_ingest(take: Take) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"who": ["1"], "v": [[1, 2]]}), sink)
    with pytest.raises(InputError, match="expected a column of plain values, got list"):
        take(sink.getvalue().to_pybytes(), {"code": "V", "column": "v"}, name="t.parquet")


def test_excel_is_read_as_csv_is(take: Take, delivery: Path, rows: Callable[[], Any]) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["nothing", "here"])
    sheet = book.create_sheet("Labs")
    for line in (["who", "taken", "v"], [1, dt.datetime(2026, 3, 1, 8, 30), 5.5], [2, dt.date(2026, 3, 2), "x"]):  # noqa: DTZ001 - Excel has no zones
        sheet.append(line)
    sheet["A3"].number_format = "0"
    sheet["B3"].number_format = "yyyy-mm-dd"
    book.save(delivery / "t.xlsx")
    content = (delivery / "t.xlsx").read_bytes()
    column = {"code": "V", "column": "v", "kind": "numeric", "unparseable": "null"}
    text = {"code": "T", "column": "v"}
    account = take(content, column, text, name="t.xlsx", sheet="Labs", time={"column": "taken"}, timezone="UTC")
    assert [(r["code"], r["time"]) for r in rows()] == [
        ("T", dt.datetime(2026, 3, 1, 8, 30)), ("V", dt.datetime(2026, 3, 1, 8, 30)), ("T", dt.datetime(2026, 3, 2)),  # noqa: DTZ001
    ]  # fmt: skip
    assert account.total.used == 2
    with pytest.raises(InputError, match="expected a sheet called 'No', got 'Sheet', 'Labs'"):
        take(content + b"", column, name="u.xlsx", sheet="No")


def test_a_broken_workbook_is_refused_in_one_line(take: Take) -> None:
    with pytest.raises(InputError, match="expected an Excel workbook") as error:
        take(b"PK\x03\x04rubbish", {"code": "V", "column": "v"}, name="t.xlsx")
    assert "\n" not in str(error.value)
