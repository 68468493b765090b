"""A first mapping of a table: it loads, it reads, and it says what it is not sure of."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from ingest.account.reconciliation import Reconciliation
from ingest.errors import InputError
from ingest.mapping.columns import unit_of
from ingest.mapping.mapping import TableMapping, load_mapping
from ingest.mapping.propose import propose_mapping
from ingest.run import ingest
from ingest.workspace import Workspace

DATA = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def propose(workspace: Workspace, tmp_path: Path) -> Callable[..., tuple[TableMapping, str, Reconciliation]]:
    """The mapping, its text, and what came of reading the table by it."""

    def run(path: Path, **options: Any) -> tuple[TableMapping, str, Reconciliation]:
        text = propose_mapping(path)
        place = tmp_path / "proposed.yaml"
        place.write_text(text)
        return load_mapping(place), text, ingest(workspace, [path.parent], mapping=place, **options)

    return run


def table(folder: Path, text: str, name: str = "labs.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def test_a_wide_table(propose: Any, delivery: Path) -> None:
    rows = "".join(
        f"{n},{n // 3},2026-03-0{n % 9 + 1} 08:00,{90 + n},{n % 7 / 10 + 36.5},"
        f"{'-1' if n % 4 else n},{'NA' if n % 5 else 'yes'}\n"
        for n in range(30)
    )
    header = "row_id,patient_no,taken,Glucose (mg/dL),temp_c,score,smokes\n"
    mapping, text, account = propose(table(delivery, header + rows), timezone="UTC")
    part = mapping.files[0]
    assert part.subject.column == "patient_no"
    assert part.time is not None
    assert part.time.column == "taken"
    assert "--timezone" in text
    columns = {column.column: column for column in part.columns}
    assert (columns["Glucose (mg/dL)"].kind, columns["Glucose (mg/dL)"].unit) == ("numeric", "mg/dL")
    assert columns["temp_c"].unit == "Cel"
    assert columns["score"].null == ("-1",)
    assert columns["smokes"].null == ("NA",)
    assert (account.total.used, account.total.refused) == (30, 0)


def test_a_long_table(propose: Any, delivery: Path) -> None:
    rows = "".join(f"{n % 4},{n * 5}:30,test {n % 3},{n + 0.5},mmol/L\n" for n in range(40))
    mapping, text, account = propose(table(delivery, "stay_id,time,parameter,value,unit\n" + rows))
    part = mapping.files[0]
    assert part.time is not None
    assert part.time.unit == "hh:mm"
    assert [column.title for column in part.columns] == ["parameter"]
    assert (account.observations, account.total.used) == (40, 40)
    assert "CHECK" in text


def test_another_encoding_delimiter_and_decimal_comma(propose: Any, delivery: Path) -> None:
    rows = "".join(f"P{n:03d};{n},5;Köln;0{n % 9 + 1}.03.2026\n" for n in range(12))
    path = table(delivery, "patient;größe_cm;ort;datum\n" + rows, encoding="cp1252")
    mapping, _, account = propose(path)
    part = mapping.files[0]
    assert (part.encoding, part.delimiter, part.decimal) == ("cp1252", ";", ",")
    assert part.time is not None
    assert part.time.format in ("%d.%m.%Y", "%d.%m.%Y")
    assert (account.total.used, account.total.refused) == (12, 0)


def test_files_beside_the_table_are_assets(propose: Any, delivery: Path, write_picture: Callable[[Path], Path]) -> None:
    for n in range(4):
        write_picture(delivery / "images" / f"p{n}.jpg")
    rows = "".join(f"{n},p{n},f\n" for n in range(4))
    mapping, _, account = propose(table(delivery, "case_id,image,sex\n" + rows))
    assert [column.asset for column in mapping.files[0].columns] == ["images/{image}.jpg", None]
    assert account.by_format["image"].used == 4


def test_excel_by_its_first_sheet(propose: Any, delivery: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    for line in (["patient id", "weight [kg]"], *([n, 60.5 + n] for n in range(5))):
        book.active.append(line)
    book.create_sheet("Other")
    book.save(delivery / "t.xlsx")
    mapping, text, account = propose(delivery / "t.xlsx")
    assert mapping.files[0].columns[0].unit == "kg"
    assert "2 sheets" in text
    assert account.total.used == 5


def test_no_cell_is_shown_and_what_names_a_person_is_left_out(propose: Any, delivery: Path) -> None:
    """FAULTS 37, for proposals."""
    rows = "".join(f"{n},Zanzibar{n},1960-05-17,Quixote remark {n}\n" for n in range(9))
    mapping, text, _ = propose(table(delivery, "id,surname,birth_date,remark\n" + rows))
    assert not any(word in text for word in ("Zanzibar", "1960", "Quixote"))
    assert [column.column for column in mapping.files[0].columns] == ["remark"]


@pytest.mark.parametrize(
    "header", ["who: what?,a {b},null,yes\n", '"a,b",c"d,#x,- y\n', "x,x,,z\n", "1,2,3,4\n", "ü ,\tb,c'd,%\n"]
)
def test_any_header_gives_a_mapping_that_loads_and_reads(propose: Any, delivery: Path, header: str) -> None:
    account = propose(table(delivery, header + "".join(f"{n},{n}x,{n}.5,{n}\n" for n in range(5))))[2]
    assert account.total.used == 5


@pytest.mark.parametrize("content", ["", "a,b\n", "\x00\x01\x02"])
def test_what_is_no_table_is_refused_in_one_line(delivery: Path, content: str) -> None:
    with pytest.raises(InputError) as error:
        propose_mapping(table(delivery, content))
    assert "\n" not in str(error.value)


def test_units_as_headers_state_them() -> None:
    stated = {
        "Na (mmol/L)": "mmol/L",
        "WBC [K/uL]": "10*3/uL",
        "bp_mmhg": "mm[Hg]",
        "spo2_pct": "%",
        "abc": "",
        "x (y)": "",
    }
    assert {name: unit_of(name) for name in stated} == stated


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "icu-eicu-demo/patient.csv.gz", "icu-eicu-demo/respiratorycharting.csv.gz", "icu-eicu-demo/medication.csv.gz",
        "icu-eicu-demo/hourly/mortality24/dyn.parquet", "icu-physionet2012/Outcomes-a.txt",
        "skin-ham10000/metadata.csv", "covid-cxr/metadata.csv",
    ],
)  # fmt: skip
def test_real_tables_are_read_by_their_proposal(workspace: Workspace, tmp_path: Path, name: str) -> None:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{path}: not here")
    place = tmp_path / "proposed.yaml"
    place.write_text(propose_mapping(path))
    assert yaml.safe_load(place.read_text())["files"]
    account = ingest(workspace, [path], mapping=place)
    assert account.by_format["table"].used > 0.5 * account.by_format["table"].seen


def test_decimal_commas_are_numbers(propose: Any, delivery: Path) -> None:
    rows = "".join(f"{n};0{1 + n % 9}.03.2026 08:15;140,{n};{n},1\r\n" for n in range(1, 10))
    path = table(delivery, f"\ufeffPatientennr;Datum;Natrium (mmol/L);Kreatinin [mg/dl]\r\n{rows}")
    mapping, _, account = propose(path, timezone="Europe/Berlin")
    assert [(column.kind, column.unit) for column in mapping.files[0].columns] == [
        ("numeric", "mmol/L"), ("numeric", "mg/dL"),
    ]  # fmt: skip
    assert (account.total.used, account.observations) == (9, 18)


def test_decimal_commas_in_quotes_are_numbers_but_thousands_are_not_halved(propose: Any, delivery: Path) -> None:
    mapping, _, _ = propose(table(delivery, 'who,crp\n1,"1,5"\n2,"2,25"\n3,"3,5"\n'))
    assert (mapping.files[0].decimal, mapping.files[0].columns[0].kind) == (",", "numeric")
    mapping, _, _ = propose(table(delivery, 'who,platelets\n1,"150,000"\n2,"250,000"\n3,"90,500"\n'))
    assert (mapping.files[0].decimal, mapping.files[0].columns[0].kind) == (".", "text")


@pytest.mark.parametrize(
    "name", ["Nachname", "Vorname", "Geburtsdatum", "Geb.", "Name", "Prénom", "date_naissance", "Apellidos", "姓名"]
)
def test_what_names_a_person_in_other_languages_is_left_out(propose: Any, delivery: Path, name: str) -> None:
    rows = "".join(f"{n},19{50 + n}-05-1{n},{60 + n}\n" for n in range(8))
    mapping, text, _ = propose(table(delivery, f"id,{name},hr\n{rows}"))
    assert [column.column for column in mapping.files[0].columns] == ["hr"]
    assert mapping.files[0].time is None
    assert f"# {name}: left out" in text


def test_columns_of_parquet_without_a_text_are_left_out(propose: Any, delivery: Path) -> None:
    columns = {
        "subject": pa.array(["a", "b"]).dictionary_encode(), "hr": pa.array([80, 90]),
        "nested": pa.array([{"a": 1}] * 2), "listed": pa.array([[1], [2]]),
        "bytes": pa.array([b"\xff"] * 2), "lasting": pa.array([dt.timedelta(1)] * 2),
    }  # fmt: skip
    pq.write_table(pa.table(columns), delivery / "t.parquet")
    mapping, text, account = propose(delivery / "t.parquet")
    assert [column.column for column in mapping.files[0].columns] == ["hr"]
    assert "4 columns left out" in text
    assert account.total.used == 2


def test_units_at_the_end_of_a_header() -> None:
    assert [unit_of(name) for name in ("glucose_mg_dl", "Kalium mmol/L", "temp °C", "a_b", "beats per min")] == [
        "mg/dL", "mmol/L", "Cel", "", "",
    ]  # fmt: skip


def test_a_workbooks_cover_page_is_passed_over(propose: Any, delivery: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["Report of 2026"])
    sheet = book.create_sheet("Data")
    sheet.append(["MRN", "Taken", "K (mmol/L)"])
    for day in range(1, 9):
        sheet.append([1000 + day, dt.datetime(2026, 3, day, 8, 30), 4 + day / 10])  # noqa: DTZ001 - as Excel has it
    book.save(delivery / "a.xlsx")
    mapping, text, account = propose(delivery / "a.xlsx", timezone="Europe/Berlin")
    assert (mapping.files[0].sheet, mapping.files[0].time is not None) == ("Data", True)
    assert "the first that has a table" in text
    assert (account.total.used, account.total.refused) == (8, 0)
