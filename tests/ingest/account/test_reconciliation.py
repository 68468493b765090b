from dataclasses import replace
from pathlib import Path

import pytest

from ingest.account.quarantine import Quarantine
from ingest.account.reconciliation import Count, Report
from ingest.account.summary import Summary
from ingest.errors import Complaint


def report(tmp_path: Path) -> Report:
    return Report(Quarantine(tmp_path, "run"))


def test_a_count_that_does_not_add_up_cannot_be_built() -> None:
    assert Count(3, 1, 1, 1).to_json() == {"in": 3, "used": 1, "refused": 1, "skipped": 1}
    with pytest.raises(AssertionError, match="do not add up"):
        Count(3, 1, 1, 0)


def test_a_record_that_nobody_decided_on_is_noticed(tmp_path: Path) -> None:
    open_report = report(tmp_path)
    open_report.see("FHIR", 2)
    open_report.use("FHIR")
    with pytest.raises(AssertionError, match="do not add up"):
        open_report.reconcile("run", None, 0, Summary.nothing())


def test_the_account_says_what_was_skipped_noted_and_refused(tmp_path: Path) -> None:
    full = report(tmp_path)
    full.see("FHIR", 4)
    full.use("FHIR", 2)
    full.skip("FHIR", "duplicate")
    full.refuse("FHIR", Complaint("f", "line 1", "code", "a code", "none"), "raw")
    full.note("noticed", 3)
    account = full.reconcile("run", "run.parquet", 9, replace(Summary.nothing(), subjects=1))
    full.quarantine.discard()
    assert account.lines() == [
        "in 4 = used 2 + refused 1 + skipped 1; 9 observations of 1 subjects",
        "  FHIR: in 4 = 2 + 1 + 1",
        "  skipped 1: duplicate",
        "  noted 3: noticed",
    ]
    assert str(account.refusals[0]) == "f, line 1, code: expected a code, got none"
