"""What references mean within a delivery, in memory or aside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.identity import store
from ingest.identity.store import Meanings


@given(st.lists(st.tuples(st.integers(0, 20).map("Patient/{}".format), st.integers(0, 2**63 - 1)), max_size=60))
def test_a_reference_means_what_was_entered_last(entries: list[tuple[str, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_KEPT", 5)  # so that most are set aside
        meanings = Meanings()
        for reference, subject in entries:
            meanings.enter(reference, subject)
        names = [f"Patient/{n}" for n in range(21)]
        assert {name: found for name in names if (found := meanings.get(name)) is not None} == dict(entries)
        meanings.close()
