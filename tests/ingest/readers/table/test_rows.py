import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingest.readers.table.rows import row_labels


@given(st.lists(st.integers(1, 10**7), max_size=40), st.booleans())
def test_labels_are_the_numbers_of_the_rows(numbers: list[int], in_order: bool) -> None:
    chosen = sorted(set(numbers)) if in_order else numbers
    labels = row_labels(np.array(chosen, np.int64))
    labels.validate(full=True)
    assert labels.to_pylist() == [f"row {number}" for number in chosen]
