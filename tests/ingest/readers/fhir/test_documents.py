"""Notes and reports: all their text, nothing cut, nothing run, nothing fetched."""

import base64
import socket
from collections.abc import Callable
from typing import Any

import pytest

from ingest.readers.fhir.documents import MAX_NOTE_BYTES
from ingest.readers.fhir.markup import text_of_markup

Make = Callable[..., dict[str, Any]]
NOTE = "LOINC//34117-2"


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def note(*attachments: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "DocumentReference",
        "id": "n1",
        "status": "current",
        "subject": {"reference": "Patient/p1"},
        "type": {"coding": [{"system": "http://loinc.org", "code": "34117-2"}]},
        "date": "2026-03-01T12:00:00Z",
        "content": [{"attachment": attachment} for attachment in attachments],
        **changes,
    }


def test_all_attachments_come_in_order(ward: Any, patient: Make) -> None:
    kinds = ("text/plain", "text/html", "application/xhtml+xml", "application/pdf", "text/plain; charset=latin-1")
    texts = ("one", "<p>two &amp; more</p>", "<div xmlns='x'>three<br/>four</div>", "%PDF", "fünf".encode("latin-1"))
    account = ward.take(
        patient(), note(*({"contentType": k, "data": encoded(t)} for k, t in zip(kinds, texts, strict=True)))
    )
    assert ward.row(NOTE)["text_value"] == "one\n\ntwo & more\n\nthree\nfour\n\nfünf"
    assert account.notes["attachment of a kind that is not read: application/pdf"] == 1


@pytest.mark.parametrize("kind", ["application/pdf", "application/rtf", "text/rtf", "image/jpeg"])
def test_a_note_of_another_kind_is_skipped_by_it(ward: Any, patient: Make, kind: str) -> None:
    account = ward.take(patient(), note({"contentType": kind, "data": encoded("x")}))
    assert account.skip_reasons == {f"attachment of a kind that is not read: {kind}": 1}


def test_scripts_are_dropped_and_markup_that_is_none_is_text() -> None:
    page = "<html><head><title>t</title></head>a<script>alert('<p>x</p>')</script> <b>b</b> 5 < 6<img src=x onerror=y>"
    assert text_of_markup(page) == "a b 5 < 6"
    assert text_of_markup("<style>x</style><p>one<p>two</p><template>no</template>&lt;b&gt;") == "one\ntwo\n<b>"
    assert text_of_markup("<" * 10_000) == "<" * 10_000


def test_a_note_that_is_too_long_is_refused_with_its_size_and_never_cut(ward: Any, patient: Make) -> None:
    account = ward.take(patient(), note({"contentType": "text/plain", "data": encoded(b"x" * (MAX_NOTE_BYTES + 100))}))
    assert account.refusals[0].field == "attachment.data"
    assert account.refusals[0].got.startswith("16,777")
    long = "y" * 1_000_000
    ward.take(note({"contentType": "text/plain", "data": encoded(long)}, id="n2"), name="b.ndjson")
    assert ward.row(NOTE)["text_value"] == long


@pytest.mark.parametrize("data", ["@@@", "YQ", "Y\x00Q=", "é"])
def test_what_is_no_base64_is_refused(ward: Any, patient: Make, data: str) -> None:
    account = ward.take(patient(), note({"contentType": "text/plain", "data": data}))
    assert (account.total.refused, account.refusals[0].field) == (1, "attachment.data")


def test_base64_may_have_line_breaks(ward: Any, patient: Make) -> None:
    ward.take(patient(), note({"contentType": "text/plain", "data": "d2hl\r\nZXpl"}))
    assert ward.row(NOTE)["text_value"] == "wheeze"


@pytest.mark.parametrize("name", ["all.ndjson", "bundle.json"])
def test_a_binary_of_the_delivery_is_read_where_a_note_points_to_it(
    ward: Any, patient: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "create_connection", None)  # FAULTS 35: no request leaves
    binary = {"resourceType": "Binary", "id": "b1", "contentType": "text/html", "data": encoded("<p>creps</p>")}
    pointing = note({"contentType": "text/plain", "url": "https://far.example/fhir/Binary/b1"})
    if name.endswith(".json"):
        entries = [{"resource": each} for each in (pointing, binary, patient())]
        account = ward.take({"resourceType": "Bundle", "type": "batch", "entry": entries}, name="one.ndjson")
    else:
        account = ward.take(pointing, b"", binary, patient())
    assert (account.total.used, account.total.refused) == (3, 0)
    assert ward.row(NOTE)["text_value"] == "creps"


def test_an_address_outside_the_delivery_is_refused_not_fetched(ward: Any, patient: Make) -> None:  # FAULTS 35
    account = ward.take(patient(), note({"contentType": "text/plain", "url": "http://far.example/note.txt"}))
    assert (account.total.refused, account.refusals[0].got) == (1, "an absolute path or an address")


def test_a_report_has_its_forms_and_its_conclusion(ward: Any, patient: Make) -> None:
    report = {
        "resourceType": "DiagnosticReport", "id": "r1", "status": "final", "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "24627-2"}]},
        "effectiveDateTime": "2026-03-01T08:00:00Z", "conclusion": "no effusion",
        "presentedForm": [{"contentType": "text/html", "data": encoded("<h1>CT</h1>clear")}],
    }  # fmt: skip
    ward.take(patient(), report)
    assert ward.row("LOINC//24627-2")["text_value"] == "CT\nclear\n\nno effusion"


def test_a_composition_is_its_sections_under_their_titles(ward: Any, patient: Make) -> None:
    inner = {"title": "Plan", "text": {"div": "<div>antibiotics</div>"}}
    composition = {
        "resourceType": "Composition", "id": "c1", "status": "final", "subject": {"reference": "Patient/p1"},
        "type": {"coding": [{"system": "http://loinc.org", "code": "18842-5"}]}, "date": "2026-03-01T08:00:00Z",
        "section": [{"title": "History", "text": {"div": "<div><p>cough</p></div>"}, "section": [inner]}],
    }  # fmt: skip
    ward.take(patient(), composition)
    assert ward.row("LOINC//18842-5")["text_value"] == "History\ncough\n\nPlan\nantibiotics"
