"""Corrected, withdrawn and late resources: which version holds, whatever the order (FAULTS 7, 12, 13, 14)."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from ingest.account.ledger import retired_records
from ingest.intake import KNOWN_STAYS
from ingest.readers.fhir.versions import OLDER, STAYS_FINAL, STAYS_WITHDRAWN
from serve.options import vocabulary

Make = Callable[..., dict[str, Any]]
RATE = "LOINC//8867-4"


def rate(ward: Any) -> float | None:
    """The heart rate that holds; None where none does."""
    found = [row["numeric_value"] for row in ward.rows if row["code"] == RATE]
    assert len(found) <= 1, found
    return found[0] if found else None


def version(updated: str = "", number: str = "") -> dict[str, Any]:
    return {"meta": {key: value for key, value in (("lastUpdated", updated), ("versionId", number)) if value}}


def test_a_corrected_result_replaces_the_one_of_an_earlier_delivery(  # FAULTS 14
    ward: Any, patient: Make, observation: Make
) -> None:
    ward.take(patient(), observation(value=80.0))
    account = ward.take(observation(value=81.0, status="corrected"), name="later.ndjson")
    assert rate(ward) == 81
    assert account.total.used == 1
    assert account.notes["record replaced by a better version of it"] == 1
    retired = retired_records(ward.workspace.ingests, ward.workspace.observations)
    assert [(record, why) for _, record, why, _ in retired] == [("line 2", "corrected")]


def test_a_correction_that_is_refused_is_told_with_what_stays(ward: Any, patient: Make, observation: Make) -> None:
    ward.take(patient(), observation(value=80.0), vocabulary=vocabulary())
    wrong = [observation(value=8000.0, status="corrected"), observation("o2", value=8000.0)]
    account = ward.take(*wrong, name="later.ndjson", vocabulary=vocabulary())
    assert account.total.refused == 2
    assert account.notes == {KNOWN_STAYS: 1}
    assert rate(ward) == 80


def test_a_preliminary_result_after_the_final_one_is_skipped(  # FAULTS 13
    ward: Any, patient: Make, observation: Make
) -> None:
    ward.take(patient(), observation(value=80.0))
    late = observation(value=79.0, status="preliminary", **version("2030-01-01T00:00:00Z"))
    account = ward.take(late, name="later.ndjson")
    assert account.skip_reasons[STAYS_FINAL] == 1
    assert rate(ward) == 80


def test_a_final_result_replaces_the_preliminary_one(ward: Any, patient: Make, observation: Make) -> None:
    ward.take(patient(), observation(value=79.0, status="preliminary"))
    ward.take(observation(value=80.0), name="later.ndjson")
    assert rate(ward) == 80


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        (version("2026-03-01T23:59:59-01:00"), version("2026-03-02T00:00:00Z")),  # west of Greenwich it is later
        (version("2026-03-02T00:00:00Z", "1"), version("2026-03-01T00:00:00Z", "2")),
        (version(number="10"), version(number="9")),
        ({"status": "amended"}, {"status": "final"}),
        ({"status": "final"}, {"status": "preliminary"}),
    ],
)
@pytest.mark.parametrize("one_delivery", [True, False])
@pytest.mark.parametrize("newer_first", [True, False])
def test_the_newer_of_two_versions_holds_whatever_the_order(
    ward: Any, patient: Make, observation: Make, newer: Any, older: Any, *, one_delivery: bool, newer_first: bool
) -> None:
    versions = [observation(value=81.0, **newer), observation(value=80.0, **older)]
    versions = versions if newer_first else versions[::-1]
    accounts = []
    if one_delivery:
        accounts.append(ward.take(patient(), *versions))
    else:
        accounts += [ward.take(patient(), versions[0]), ward.take(versions[1], name="later.ndjson")]
    assert rate(ward) == 81
    assert sum(account.total.refused for account in accounts) == 0
    reasons = {reason for account in accounts for reason in account.skip_reasons} - {"already ingested"}
    assert reasons <= {OLDER, STAYS_FINAL}
    if not one_delivery:  # within one, what is read first is not a matter of lines
        assert bool(reasons) == newer_first


def test_two_contents_under_one_id_that_nothing_tells_apart_are_refused(
    ward: Any, patient: Make, observation: Make
) -> None:
    account = ward.take(patient(), observation(value=80.0), observation(value=81.0))
    assert account.total.refused == 1
    assert account.refusals[0].field == "id"
    assert rate(ward) == 80


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled"])
def test_a_result_that_is_withdrawn_after_it_was_used_no_longer_counts(
    ward: Any, patient: Make, observation: Make, status: str
) -> None:
    ward.take(patient(), observation())
    account = ward.take(observation(status=status), name="later.ndjson")
    assert account.skip_reasons[f"Observation {status}"] == 1
    assert rate(ward) is None
    assert [why for _, _, why, _ in retired_records(ward.workspace.ingests, ward.workspace.observations)] == [
        "withdrawn"
    ]


@pytest.mark.parametrize("withdrawn_first", [True, False])
def test_what_one_delivery_both_states_and_withdraws_does_not_count(
    ward: Any, patient: Make, observation: Make, *, withdrawn_first: bool
) -> None:
    both = [observation(status="entered-in-error"), observation()]
    account = ward.take(patient(), *(both if withdrawn_first else both[::-1]))
    assert rate(ward) is None
    assert account.total.seen == 3


def test_what_was_withdrawn_stays_so(ward: Any, patient: Make, observation: Make) -> None:
    ward.take(patient(), observation(status="entered-in-error"))
    account = ward.take(observation(), name="later.ndjson")
    assert account.skip_reasons[STAYS_WITHDRAWN] == 1
    assert rate(ward) is None
    ward.take(observation(**version("2026-03-09T00:00:00Z")), name="latest.ndjson")
    assert rate(ward) is None  # the withdrawal does not say when it was: it stays


def test_the_same_deliveries_again_change_nothing(ward: Any, patient: Make, observation: Make) -> None:  # FAULTS 12
    ward.take(patient(), observation(value=80.0))
    ward.take(observation(value=81.0), name="later.ndjson")
    before = ward.rows
    account = ward.take(patient(), observation(value=80.0))
    assert (account.total.used, account.part) == (0, None)
    assert ward.rows == before


def test_a_known_id_about_somebody_else_is_refused(ward: Any, patient: Make, observation: Make) -> None:
    ward.take(patient(), patient("2", family="Baker"), observation(value=80.0))
    account = ward.take(observation(about="p2", value=81.0), name="later.ndjson")
    assert (account.total.refused, account.refusals[0].field) == (1, "id")
    assert rate(ward) == 80


def test_the_same_id_of_another_issuer_is_another_record(ward: Any, patient: Make, observation: Make) -> None:
    ward.take(patient(), observation(value=80.0))
    (ward.delivery / "all.ndjson").unlink()
    ward.take(patient(), observation(value=81.0), name="other.ndjson", issuer="urn:oid:9")
    assert sorted(row["numeric_value"] for row in ward.rows if row["code"] == RATE) == [80, 81]


def test_a_deletion_takes_back_what_it_names(ward: Any, patient: Make, observation: Make) -> None:
    ward.take(patient(), observation(), observation("o2", value=90.0))
    deletions = [{"request": {"method": "DELETE", "url": url}} for url in ("Observation/o1", "Observation/never")]
    account = ward.take({"resourceType": "Bundle", "type": "transaction", "entry": deletions}, name="deleted.ndjson")
    assert rate(ward) == 90
    assert (account.by_format["FHIR"].used, account.skip_reasons["deletion of a Observation that is not here"]) == (
        1,
        1,
    )


def test_rows_that_quick_and_full_reading_know_are_the_same_records(
    ward: Any, patient: Make, observation: Make
) -> None:
    ward.take(patient(), *(observation(f"o{i}", value=float(60 + i)) for i in range(40)))
    changed = [observation(f"o{i}", value=float(100 + i), note=[{"text": "again"}]) for i in range(20)]
    changed += [observation(f"o{i}", value=float(60 + i)) for i in range(20, 40)]
    entries = [{"resource": resource} for resource in changed]
    (ward.delivery / "all.ndjson").unlink()
    (ward.delivery / "b.json").write_bytes(
        orjson.dumps({"resourceType": "Bundle", "type": "searchset", "entry": entries})
    )
    account = ward.take(name="empty.ndjson")
    assert (account.by_format["FHIR"].used, account.skip_reasons["already ingested"]) == (20, 20)
    assert sorted(r["numeric_value"] for r in ward.rows if r["code"] == RATE) == [*range(80, 100), *range(100, 120)]


def merged(ward: Any) -> set[int]:
    return {row["subject_id"] for row in ward.rows}


def test_patients_that_the_source_has_merged_are_one_subject(  # FAULTS 7
    ward: Any, patient: Make, observation: Make
) -> None:
    ward.take(patient("1"), patient("2"), observation(), observation("o2", about="p2", value=90.0))
    assert len(merged(ward)) == 2
    link = [{"other": {"reference": "Patient/p1"}, "type": "replaces"}]
    account = ward.take(patient("2", link=link), name="later.ndjson")
    assert len(merged(ward)) == 1
    assert sum(n for note, n in account.notes.items() if "merged" in note) == 1
    assert sorted(row["numeric_value"] for row in ward.rows if row["code"] == RATE) == [80, 90]


def test_replaced_by_merges_too_and_the_survivor_may_bear_both_numbers(
    ward: Any, patient: Make, observation: Make
) -> None:
    ward.take(patient("1"), patient("2"), observation())
    both = [{"system": "urn:oid:1.2.3", "value": value} for value in ("2", "1")]
    old = patient("1", active=False, link=[{"other": {"reference": "Patient/p2"}, "type": "replaced-by"}])
    new = patient("2", identifier=both, link=[{"other": {"reference": "Patient/p1"}, "type": "replaces"}])
    account = ward.take(old, new, name="later.ndjson")
    assert account.total.refused == 0
    assert len(merged(ward)) == 1


def test_see_also_merges_nobody(ward: Any, patient: Make) -> None:
    link = [{"other": {"reference": "Patient/p1"}, "type": "seealso"}]
    ward.take(patient("1"), patient("2", link=link))
    assert len(merged(ward)) == 2
