"""A ward and the same ward de-identified are one and the same to a model."""

from pathlib import Path

import numpy as np
import pytest

from clinical.demo import make_ward
from ingest.align.build import align
from ingest.catalogue import read_catalogue
from ingest.cohort import Cohort, open_cohort
from ingest.identity.register import subject_number
from ingest.privacy.keys import ISSUER, Keys
from ingest.privacy.run import deidentify
from ingest.run import ingest
from ingest.store import Observations
from ingest.workspace import create_workspace
from serve.options import find_task, vocabulary

SECRET = b"one secret"
PATIENTS = 12


@pytest.mark.slow
def test_a_ward_and_its_de_identified_copy_align_to_the_same_arrays(tmp_path: Path) -> None:
    make_ward(tmp_path / "ward", PATIENTS, seed=3)
    keys = Keys.of_secret(SECRET)
    report = deidentify(tmp_path / "ward", tmp_path / "plain", keys)
    assert report.count("held") == 0
    assert report.reasons["refused"].keys() == {
        "expected a kind of file with a rule, got not de-identified automatically: a format or table without a rule"
    }  # README.txt and truth.parquet
    one, two = cohort_of(tmp_path / "ward", tmp_path / "one"), cohort_of(tmp_path / "plain", tmp_path / "two")
    assert len(one) == len(two) > 3
    place = {
        subject_number(keys.key, ISSUER, keys.pseudonym(subject)): row
        for row, subject in enumerate(one.index["subject_id"].tolist())
    }
    compared = 0
    for row, subject in enumerate(two.index["subject_id"].tolist()):
        first, second = one.index.iloc[place[subject]], two.index.iloc[row]
        shift = second["index_time"] - first["index_time"]
        assert shift.total_seconds() == 86400 * keys.days(int(first["subject_id"])) < 0
        assert np.array_equal(first["target"], second["target"], equal_nan=True)
        for stream in one.stream_names:
            here, there = first[f"{stream}_row"], second[f"{stream}_row"]
            assert (here >= 0) == (there >= 0), stream
            if here >= 0:
                ours, theirs = one.arrays(int(first["shard"]), stream), two.arrays(int(second["shard"]), stream)
                for part in ("values", "observed", "hours"):
                    mine, other = getattr(ours, part)[here], getattr(theirs, part)[there]
                    assert np.array_equal(mine, other, equal_nan=True), (stream, part)
                    compared += 1
    assert compared > 3 * len(one)


def cohort_of(delivery: Path, root: Path) -> Cohort:
    """A delivery ingested under the secret, and aligned for the deterioration task."""
    workspace = create_workspace(root, SECRET)
    ingest(workspace, [delivery], vocabulary=vocabulary())
    task = find_task("deterioration")
    out = workspace.cohort(task.name)
    align(Observations(workspace), task, out, vocabulary=vocabulary(), catalogue=read_catalogue(workspace.images))
    return open_cohort(out)
