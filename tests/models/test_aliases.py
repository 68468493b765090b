"""Who is champion, who was, and the way back."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.errors import ModelError
from models.aliases import champion, history, rollback, set_alias

TASK = "deterioration"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


@pytest.fixture
def promote(database: Path) -> Callable[..., None]:
    def promote(*versions: str) -> None:
        for version in versions:
            set_alias(database, TASK, version, f"because of {version}")

    return promote


def test_without_a_champion_it_says_how_to_get_one_and_makes_no_database(database: Path) -> None:
    with pytest.raises(ModelError, match="task deterioration: expected a champion, found none; run `telltale train"):
        champion(database, TASK)
    assert history(database, TASK) == []
    assert not database.exists()


def test_the_latest_is_champion_and_all_are_in_the_history(database: Path, promote: Callable[..., None]) -> None:
    promote("v0001", "v0002")
    assert champion(database, TASK) == "v0002"
    changes = history(database, TASK)
    assert [(c.version, c.reason) for c in changes] == [
        ("v0001", "because of v0001"),
        ("v0002", "because of v0002"),
    ]
    assert all(change.changed_at.endswith("+00:00") for change in changes)


def test_tasks_and_aliases_do_not_mix(database: Path, promote: Callable[..., None]) -> None:
    promote("v0001")
    set_alias(database, "other", "v0007", "x")
    set_alias(database, TASK, "v0009", "x", alias="shadow")
    assert champion(database, TASK) == "v0001"
    assert champion(database, "other") == "v0007"
    assert history(database, TASK, alias="shadow")[-1].version == "v0009"


def test_rolling_back_twice_goes_back_twice_and_a_third_time_is_refused(
    database: Path, promote: Callable[..., None]
) -> None:
    promote("v0001", "v0002", "v0003")
    assert rollback(database, TASK) == "v0002"
    assert rollback(database, TASK) == "v0001"
    with pytest.raises(ModelError, match="expected an earlier champion to go back to, found none"):
        rollback(database, TASK)
    assert champion(database, TASK) == "v0001"
    assert [change.version for change in history(database, TASK)] == ["v0001", "v0002", "v0003", "v0002", "v0001"]


def test_what_was_rolled_away_from_is_not_what_was_before(database: Path, promote: Callable[..., None]) -> None:
    promote("v0001", "v0002")
    rollback(database, TASK)
    promote("v0003")
    assert rollback(database, TASK) == "v0001"


def test_a_version_promoted_again_by_hand_has_the_one_between_as_its_before(
    database: Path, promote: Callable[..., None]
) -> None:
    promote("v0001", "v0002", "v0001")
    assert rollback(database, TASK) == "v0002"
    assert rollback(database, TASK) == "v0001"


def test_the_same_version_twice_is_one_step(database: Path, promote: Callable[..., None]) -> None:
    promote("v0001", "v0002", "v0002")
    assert rollback(database, TASK, "it was worse") == "v0001"
    assert history(database, TASK)[-1].reason == "rolled back: it was worse"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["1", "2", "3", "back"]), max_size=10))
def test_any_course_of_events_is_that_of_a_stack(tmp_path_factory: pytest.TempPathFactory, course: list[str]) -> None:
    database = tmp_path_factory.mktemp("aliases") / "app.db"
    stack: list[str] = []
    for event in course:
        if event != "back":
            set_alias(database, TASK, event, "promoted")
            if stack[-1:] != [event]:
                stack.append(event)
        elif len(stack) > 1:
            stack.pop()
            assert rollback(database, TASK) == stack[-1]
        else:
            with pytest.raises(ModelError):
                rollback(database, TASK)
    assert not stack or champion(database, TASK) == stack[-1]


def test_eight_writers_at_once_lose_nothing(database: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: set_alias(database, TASK, f"v{i:04d}", "at once"), range(40)))
    assert sorted(change.version for change in history(database, TASK)) == [f"v{i:04d}" for i in range(40)]
