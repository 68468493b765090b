"""`telltale vocabulary`: what is known of a code, in words."""

from collections.abc import Callable
from typing import Any


def test_a_code_is_explained(telltale: Callable[..., Any]) -> None:
    ran = telltale("vocabulary", "2160-0")
    assert ran.code == 0
    assert "LOINC//2160-0: creatinine" in ran.out
    assert "from umol/L: times 0.011312" in ran.out
    assert "property MCnc (mass concentration)" in ran.out


def test_a_name_lists_its_quantities(telltale: Callable[..., Any]) -> None:
    ran = telltale("vocabulary", "lactate")
    assert ran.code == 0
    assert "LOINC//59032-3" in ran.out
    assert "LOINC//2524-7" in ran.out


def test_what_is_not_there_is_said(telltale: Callable[..., Any]) -> None:
    ran = telltale("vocabulary", "phlogiston")
    assert ran.code == 1
    assert "expected a code or a name, got none of" in ran.err
