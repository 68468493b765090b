"""FHIR in XML is named and never parsed (FAULTS 33)."""

from pathlib import Path
from typing import Any

import pytest

from ingest.run import ingest

PATIENT = '<?xml version="1.0"?>\n{}<Patient xmlns="http://hl7.org/fhir"><id value="1"/>{}</Patient>'
ENTITY = '<!DOCTYPE foo [<!ENTITY xxe SYSTEM "file:///etc/passwd">]>\n'
BILLION = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize("document_type", [ENTITY, BILLION, ENTITY.lower(), "<!-- " + "x" * 5000 + " -->" + ENTITY])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_a_document_type_is_refused(ward: Any, document_type: str, encoding: str) -> None:
    (ward.delivery / "p.xml").write_bytes(PATIENT.format(document_type, "&xxe;").encode(encoding))
    account = ingest(ward.workspace, [ward.delivery])
    assert account.by_format["FHIR XML"].refused == 1
    assert "hide entities" in account.refusals[0].got


def test_a_document_type_far_into_the_file_is_found(ward: Any, delivery: Path) -> None:
    text = PATIENT.format("", "<!-- " + "x" * (1 << 20) + " -->" + "y" * ((1 << 20) - 140) + "<!ENTITY a 'b'>")
    (delivery / "p.xml").write_text(text)
    assert ingest(ward.workspace, [delivery]).total.refused == 1


@pytest.mark.parametrize("name", ["p.xml", "p.fhir"])
def test_plain_fhir_in_xml_is_skipped_with_what_to_do(ward: Any, name: str) -> None:
    (ward.delivery / name).write_text(PATIENT.format("", ""))
    assert ingest(ward.workspace, [ward.delivery]).skip_reasons == {"FHIR in XML: export it as JSON": 1}


def test_other_xml_is_not_fhir(ward: Any) -> None:
    (ward.delivery / "a.xml").write_text("<a/>")
    assert ingest(ward.workspace, [ward.delivery]).skip_reasons == {"not a known format: .xml": 1}
