from pathlib import Path

from ingest.identity.merges import BY_HAND, BY_SOURCE, Merges, subject_aliases
from ingest.identity.register import Claim, IdentityRegister


def test_a_merge_leads_through_all_that_follow_it(tmp_path: Path) -> None:
    merges = Merges(tmp_path)
    assert merges.merge(2, 1, BY_SOURCE)
    assert merges.merge(3, 2, BY_SOURCE)
    merges.save()
    assert subject_aliases(tmp_path) == {1: 3, 2: 3}


def test_who_is_one_already_is_not_merged_again_nor_in_a_circle(tmp_path: Path) -> None:
    merges = Merges(tmp_path)
    assert merges.merge(2, 1, BY_SOURCE)
    assert not merges.merge(2, 1, BY_SOURCE)
    assert not merges.merge(1, 2, BY_SOURCE)
    assert merges.aliases == {1: 2}


def test_a_merge_undone_by_hand_stays_undone_until_a_hand_makes_it_again(tmp_path: Path) -> None:  # FAULTS 7
    merges = Merges(tmp_path)
    merges.merge(2, 1, BY_SOURCE)
    assert merges.unmerge(1)
    assert not merges.unmerge(1)
    merges.save()
    assert subject_aliases(tmp_path) == {}
    again = Merges(tmp_path)
    assert not again.merge(2, 1, BY_SOURCE)
    assert again.merge(2, 1, BY_HAND)
    assert [merge.undone_at is None for merge in again.history] == [False, True]


def test_merged_identifiers_register_as_one_and_keep_their_own_numbers(tmp_path: Path) -> None:
    register = IdentityRegister(tmp_path)
    one, two = (register.register([("a", number)], Claim()) for number in ("1", "2"))
    assert register.merge(one, two, BY_SOURCE)
    assert register.register([("a", "2"), ("a", "1")], Claim()) == one
    assert register.known("a", "2") == two
    register.save()
    assert subject_aliases(tmp_path) == {two: one}
    assert (tmp_path / "merges.parquet").stat().st_mode & 0o777 == 0o600
