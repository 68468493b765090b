import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.account.quarantine import Refusal
from ingest.identity.register import Claim, IdentityRegister


@pytest.fixture
def register(tmp_path: Path) -> IdentityRegister:
    return IdentityRegister(tmp_path / "identities")


def test_the_same_identifier_of_another_issuer_is_another_subject(register: IdentityRegister) -> None:
    assert register.subject_id("a", "1") == register.subject_id("a", " 1 ")
    assert register.subject_id("a", "1") != register.subject_id("b", "1")
    assert register.subject_id("a1", "1") != register.subject_id("a", "11")
    assert 0 <= register.subject_id("a", "1") < 2**63


def test_another_workspace_gives_another_number(tmp_path: Path) -> None:
    numbers = {IdentityRegister(tmp_path / name).subject_id("a", "1") for name in ("one", "two")}
    assert len(numbers) == 2


def test_an_empty_identifier_is_nobody(register: IdentityRegister) -> None:
    for empty in ("", "  "):
        with pytest.raises(Refusal, match="an identifier"):
            register.subject_id("a", empty)


def test_what_was_saved_is_known_again(tmp_path: Path) -> None:
    first = IdentityRegister(tmp_path / "identities")
    subject = first.register([("a", "1"), ("b", "x")], Claim(("Archer^Ann",), "19600517", "F"))
    first.refer("local", "Patient/p1", subject)
    first.save()
    again = IdentityRegister(tmp_path / "identities")
    assert again.subject_id("b", "x") == again.subject_id("a", "1") == subject
    assert again.referred("local", "Patient/p1") == subject
    with pytest.raises(Refusal, match="another birth date"):
        again.register([("a", "1")], Claim(birth_date="19600518"))


def test_key_and_register_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "identities"
    register = IdentityRegister(folder)
    register.register([("a", "1")], Claim())
    register.save()
    for path in (folder / "key", folder / "identities.db"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_nothing_is_written_before_it_is_saved(tmp_path: Path) -> None:
    IdentityRegister(tmp_path / "identities").register([("a", "1")], Claim())
    assert not (tmp_path / "identities").exists()


def test_two_known_subjects_are_not_merged_by_a_record_that_names_both(register: IdentityRegister) -> None:
    register.register([("a", "1")], Claim())
    register.register([("b", "2")], Claim())
    with pytest.raises(Refusal, match="2 known subjects"):
        register.register([("a", "1"), ("b", "2")], Claim())


def test_a_reference_that_came_to_mean_two_subjects_means_none(register: IdentityRegister) -> None:
    register.refer("local", "Patient/1", 1)
    register.refer("local", "Patient/1", 2)
    assert register.referred("local", "Patient/1") is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ARCHER^ANN", "Archer^Ann"),
        ("Archer^Ann", "Archer^Ann Mary"),
        ("ARCHER", "Archer^Ann"),
        ("MUELLER^JOERG", "Müller^Jörg"),
        ("Muller^Jorg", "Müller^Jörg"),
        ("GARCIA LOPEZ^JOSE", "García-López^José"),
    ],
)
def test_spellings_of_one_name_agree(one: str, other: str) -> None:
    assert Claim((one,)).conflicts(Claim((other,))) == []
    assert Claim((other,)).conflicts(Claim((one,))) == []


def test_a_difference_is_named_by_its_field() -> None:
    ann = Claim(("Archer^Ann",), "19600517", "F")
    assert ann.conflicts(Claim(("Archer^Bob",), "19610517", "M")) == ["name", "birth date", "sex"]
    assert ann.conflicts(Claim(("Baker^Ann",))) == ["name"]
    assert ann.conflicts(Claim(birth_date="1960")) == []
    assert ann.conflicts(Claim()) == []


@given(st.text(max_size=20), st.text(min_size=1, max_size=20).filter(str.strip))
def test_any_identifier_has_a_number_and_keeps_it(issuer: str, identifier: str) -> None:
    register = IdentityRegister(Path("/nonexistent"))
    assert register.subject_id(issuer, identifier) == register.subject_id(issuer, identifier) >= 0
