"""Tables that come again: grown, corrected, or the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.account.reconciliation import Reconciliation
from ingest.errors import InputError
from ingest.intake import KNOWN_STAYS
from ingest.run import ingest
from ingest.store import read_observations
from ingest.workspace import Workspace, create_workspace

Take = Callable[..., Reconciliation]
COLUMN = {"code": "V", "column": "v", "kind": "numeric"}


def deliver(workspace: Workspace, folder: Path, text: str, **part: Any) -> Reconciliation:
    folder.mkdir(exist_ok=True)
    (folder / "t.csv").write_text(text)
    mapping = folder.parent / "mapping.yaml"
    whole = {"path": "*.csv", "subject": {"column": "who", "issuer": "lab"}, "columns": [COLUMN], **part}
    mapping.write_text(yaml.safe_dump({"files": [whole]}))
    return ingest(workspace, [folder], mapping=mapping)


@pytest.fixture
def take(workspace: Workspace, delivery: Path) -> Take:
    return lambda text, **part: deliver(workspace, delivery, text, **part)


@pytest.fixture
def values(workspace: Workspace) -> Callable[[], list[float]]:
    return lambda: sorted(read_observations(workspace)["numeric_value"].to_pylist())


def test_a_table_that_grew_gives_its_new_rows_only(take: Take, values: Callable[[], list[float]]) -> None:
    take("who,v\n1,10\n2,20\n")
    account = take("who,v\n1,10\n2,20\n1,10\n3,30\n")
    assert (account.total.used, account.skip_reasons) == (2, {"already ingested": 2})
    assert values() == [10.0, 10.0, 20.0, 30.0]
    assert take("who,v\n1,10\n2,20\n1,10\n3,30\n").total.used == 0


def test_a_row_refused_before_the_table_grew_is_tried_again(take: Take) -> None:
    take("who,v\n1,x\n2,20\n")
    account = take("who,v\n1,x\n2,20\n3,30\n")
    assert (account.total.used, account.total.refused, account.total.skipped) == (1, 1, 1)
    assert account.refusals[0].record == "row 1"


def test_a_last_row_that_grew_is_no_new_row(take: Take, values: Callable[[], list[float]]) -> None:
    take("who,v\n1,10\n2,2")
    account = take("who,v\n1,10\n2,25\n")
    assert account.total.used == 2  # not known to be the same table: all its rows count, and it is noted
    assert any("read before with other content" in note for note in account.notes)


def test_a_corrected_row_replaces_the_earlier(take: Take, values: Callable[[], list[float]]) -> None:
    """FAULTS 14, for tables."""
    key = {"key": ["id"]}
    take("who,id,v\n1,a,10\n2,b,20\n", **key)
    account = take("who,id,v\n3,c,30\n1,a,11\n2,b,20\n", **key)
    assert (account.total.used, account.skip_reasons) == (2, {"already ingested": 1})
    assert values() == [11.0, 20.0, 30.0]
    assert take("who,id,v\n1,a,12\n", **key).total.used == 1
    assert values() == [12.0, 20.0, 30.0]


def test_the_last_of_two_rows_with_one_key_holds(take: Take, values: Callable[[], list[float]]) -> None:
    take("who,id,v\n1,a,10\n1,a,11\n", key=["id"])
    assert values() == [11.0]


def test_rows_known_as_a_whole_are_counted_not_confused(take: Take, values: Callable[[], list[float]]) -> None:
    take("who,v\n1,10\n1,10\n2,20\n", key="row")
    account = take("who,v\n2,20\n1,10\n1,10\n1,10\n", key="row")
    assert (account.total.used, account.skip_reasons) == (1, {"already ingested": 3})
    assert values() == [10.0, 10.0, 10.0, 20.0]


def test_another_meaning_of_known_rows_is_refused(take: Take) -> None:
    take("who,id,v\n1,a,10\n", key=["id"])
    with pytest.raises(InputError, match="new workspace"):
        take("who,id,v\n1,a,10\n2,b,5\n", key=["id"], columns=[{**COLUMN, "code": "W"}])


ROWS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4)), max_size=8)


@given(first=ROWS, second=ROWS)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_with_whole_rows_as_key_two_deliveries_give_the_union_of_their_rows(
    tmp_path_factory: pytest.TempPathFactory, first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    from collections import Counter

    root = tmp_path_factory.mktemp("known")
    workspace = create_workspace(root / "workspace")
    for rows in (first, second):
        text = "who,v\n" + "".join(f"{who},{value}\n" for who, value in rows)
        deliver(workspace, root / "delivery", text, key="row")
    expected = (Counter(first) | Counter(second)).total()
    assert len(read_observations(workspace)) == expected


def test_rows_of_one_key_in_one_table_count_once_and_the_last_holds(
    take: Take, values: Callable[[], list[float]]
) -> None:
    account = take("who,id,v\n1,a,10\n1,a,10\n2,b,20\n2,b,21\n", key=["id"])
    assert (account.total.used, account.skip_reasons) == (3, {"duplicate": 1})
    assert values() == [10.0, 21.0]
    account = take("who,id,v\n1,a,11\n1,a,10\n2,b,21\n", key=["id"])
    assert (account.total.used, account.skip_reasons) == (2, {"already ingested": 1})
    assert values() == [10.0, 21.0], "the last row of a key holds, also where an earlier delivery had it so"


def test_a_correction_that_is_refused_is_told_with_what_stays(take: Take, values: Callable[[], list[float]]) -> None:
    key = {"key": ["who"]}
    take("who,v\n1,10\n2,20\n", **key)
    account = take("who,v\n1,ten\n2,30\n3,x\n", **key)
    assert (account.total.used, account.total.refused) == (1, 2)
    assert account.notes == {KNOWN_STAYS: 1}
    assert values() == [10.0, 30.0]
