"""Which series a task's rules take: AND within a rule, OR between them, ties always broken alike, all of it said."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ingest.align.prepare import prepare_events
from ingest.align.series_choice import Chooser, Facts, Taken, spoken
from ingest.catalogue import SCHEMA
from ingest.errors import TaskError
from ingest.files import sha256_of
from ingest.observations import SCHEMA as OBSERVATIONS
from ingest.task import SeriesRule, parse_task


def taken(images: Sequence[dict[str, Any]], rules: Sequence[SeriesRule]) -> Taken:
    """The choice among images {uid, hours, and facts of the catalogue}, which are called "0", "1", ... in order."""
    rows, facts = [], []
    for number, image in enumerate(images):
        plain = dict(image)
        uid, hours = plain.pop("uid"), plain.pop("hours", number)
        rows.append(
            {
                "subject_id": 1,
                "time": int(hours * 3.6e9),
                "code": "X",
                "asset": f"{number}",
                "asset_sha256": f"{number}",
            }
        )
        facts.append({"asset_sha256": f"{number}", "asset": f"{number}", "kind": "image", "series": uid, **plain})
    table = pa.Table.from_pylist(rows, schema=pa.schema([OBSERVATIONS.field(f.name) for f in OBSERVATIONS]))
    task = parse_task(
        {"name": "t", "title": "T", "index": {"event": "A"}, "target": {"events": ["B"], "horizon_hours": 1},
         "streams": {"x": {"kind": "image", "codes": ["X"]}}}, "test",
    )  # fmt: skip
    events = prepare_events(table, task).events
    facts_of = Facts.of(events, pa.Table.from_pylist(facts, schema=SCHEMA))
    names = events.strings("asset")
    found = Chooser(facts_of, events.time, rules).choose(np.arange(len(events)))
    return Taken([np.array([int(names[i]) for i in series]) for series in found.series], found.note, found.problem)


def scan(uid: str, count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"uid": uid, "modality": "CT", **more} for _ in range(count)]


LUNG = SeriesRule(modality="CT", description="lung|thorax", slices=(3, 9))


def test_all_conditions_of_a_rule_must_hold_together() -> None:
    images = [
        *scan("1.1", 4, description="HEAD"), *scan("1.2", 2, description="Lung 1.0 B70f"),
        *scan("1.3", 4, description="Lung", modality="MR"), *scan("1.4", 4, description="Recon | THORAX"),
    ]  # fmt: skip
    found = taken(images, [LUNG])
    assert [series.tolist() for series in found.series] == [[10, 11, 12, 13]]
    assert found.note == "series 4 of 4: rule 1 (modality CT, description 'lung|thorax', 3 to 9 slices), 4 slices"


def test_the_first_rule_that_any_series_fulfils_decides() -> None:
    images = [*scan("1.1", 4, description="abdomen"), *scan("1.2", 4, description="pelvis", hours=99)]
    rules = [LUNG, SeriesRule(description="abdo"), SeriesRule(description="pelvis")]
    found = taken(images, rules)
    assert found.series[0].tolist() == [0, 1, 2, 3]
    assert found.note.startswith("series 1 of 2: rule 2 (description 'abdo')")


def test_ties_go_to_the_latest_then_the_most_slices_then_the_same_one_always() -> None:
    late = taken([*scan("1.1", 5, hours=1), *scan("1.2", 3, hours=2)], [SeriesRule(modality="CT")])
    assert late.series[0].tolist() == [5, 6, 7]
    more = taken([*scan("1.1", 3, hours=1), *scan("1.2", 5, hours=1)], [SeriesRule(modality="CT")])
    assert len(more.series[0]) == 5
    for order in (("1.1", "1.2"), ("1.2", "1.1")):
        images = [image for uid in order for image in scan(uid, 3, hours=1, description=uid)]
        found = taken(images, [SeriesRule(modality="CT")])
        lowest = min(order, key=lambda uid: hashlib.sha256(uid.encode()).hexdigest())
        assert images[found.series[0][0]]["uid"] == lowest


@given(st.permutations(range(9)))
def test_the_order_in_which_images_come_does_not_matter(order: list[int]) -> None:
    images = [{**image, "hours": 1 + n} for n, image in enumerate([*scan("1.1", 4), *scan("1.2", 5, view="PA")])]
    found = taken([images[place] for place in order], [SeriesRule(view="PA"), LUNG])
    assert sorted(order[place] for place in found.series[0]) == [4, 5, 6, 7, 8]


def test_a_view_is_told_image_by_image_within_a_series() -> None:
    images = [
        {"uid": "1.1", "modality": "DX", "view": "PA"}, {"uid": "1.1", "modality": "DX", "view": "LATERAL"},
        {"uid": "1.2", "modality": "MG", "view": "CC", "laterality": "L"},
        {"uid": "1.2", "modality": "MG", "view": "CC", "laterality": "R"},
    ]  # fmt: skip
    assert taken(images, [SeriesRule(view="^(PA|AP)$")]).series[0].tolist() == [0]
    assert taken(images, [SeriesRule(modality="mg", laterality="R")]).series[0].tolist() == [3]


def test_what_must_not_be_there_excludes_and_silence_does_not() -> None:
    images = [
        *scan("1.1", 2, description="lung MIP"),
        *scan("1.2", 2),
        *scan("1.3", 2, description="lung", image_type="DERIVED\\SECONDARY"),
    ]
    found = taken(
        images, [SeriesRule(not_description="MIP|scout", image_type="ORIGINAL|^$"), SeriesRule(not_description="MIP")]
    )
    assert sorted(int(series[0]) for series in found.series) == [2, 4]


def test_a_series_that_a_rule_excludes_is_said_to_be_excluded() -> None:
    images = scan("1.1", 2, modality="CT", description="Jane Doe lung MIP")
    rules = [SeriesRule(modality="CT", not_description="mip|scout"), SeriesRule(body_part="CHEST")]
    assert taken(images, rules).problem == (
        "no series fits: 1 seen; rule 1: description that holds 'mip|scout'; rule 2: body part not stated"
    )


def test_where_nothing_fits_it_is_said_what_was_seen_but_no_free_text() -> None:
    images = [
        *scan("1.1", 2, modality="MR", description="Jane Doe knee"),
        *scan("1.2", 40, modality="CT", description="Jane Doe lung"),
    ]
    problem = taken(images, [LUNG, SeriesRule(modality="DX"), SeriesRule(description="heart")]).problem
    assert problem == (
        "no series fits: 2 seen; rule 1: modality MR, 40 slices; rule 2: modality MR, modality CT; "
        "rule 3: 2 of description another"
    )


def test_a_multi_frame_object_is_a_volume_by_itself_and_counts_its_frames() -> None:
    images = [{"uid": "1.1", "modality": "MR", "frames": 30}, {"uid": "1.1", "modality": "MR", "frames": 60}]
    found = taken(images, [SeriesRule(slices=(50, 100))])
    assert found.series[0].tolist() == [1]
    assert found.note.endswith("60 slices")


def test_a_file_that_was_named_twice_counts_once() -> None:
    rows = [{"uid": "1.1", "hours": 1}, {"uid": "1.1", "hours": 2}]
    assert len(taken(rows, []).series[0]) == 2


def test_rules_that_are_no_patterns_or_no_ranges_are_refused() -> None:
    with pytest.raises(ValueError, match="description: expected a regular expression"):
        SeriesRule(description="(lung")
    with pytest.raises(ValueError, match="slices is"):
        SeriesRule(slices=(5, 2))
    raw = {"name": "t", "title": "T", "index": {"event": "A"}, "target": {"events": ["B"], "horizon_hours": 1}}
    with pytest.raises(TaskError, match="orientation is three letters"):
        parse_task({**raw, "streams": {"x": {"kind": "image", "codes": ["X"], "orientation": "LLS"}}}, "test")


def test_a_rule_is_spoken_as_its_task_states_it() -> None:
    assert spoken(SeriesRule()) == "any series"
    assert spoken(SeriesRule(body_part="CHEST", not_description="scout")) == "body part CHEST, not description 'scout'"


def test_flat_images_are_chosen_too_and_a_case_without_any_says_why(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any
) -> None:
    rows, facts = people(), []
    for number, (subject, view) in enumerate([(1, "PA"), (1, "LL"), (2, "LL")]):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((8, 8), 50 * (number + 1), np.uint8)).save(path)
        digest = sha256_of(path)
        rows.append(
            {"subject": subject, "code": "DICOM//DX", "hours": 5 + number, "asset": str(path), "asset_sha256": digest}
        )
        facts.append(
            {"asset_sha256": digest, "asset": str(path), "kind": "image", "series": f"1.{number}", "view": view}
        )
    stream = {"kind": "image", "codes": ["DICOM//DX"], "shape": [8, 8], "series": [{"view": "PA|AP"}]}
    report, cohort = aligned(rows, task_of({"xray": stream}), catalogue=pa.Table.from_pylist(facts, schema=SCHEMA))
    assert cohort.present[:3, 0].tolist() == [True, False, False]
    assert cohort.batch([0]).streams["xray"].values.mean() * 255 == pytest.approx(50, abs=0.1)
    assert cohort.index["xray_note"].iat[0] == "series 1 of 2: rule 1 (view PA|AP), 1 slice"
    assert cohort.index["xray_problem"].iat[1] == "no series fits: 1 seen; rule 1: view LL"
    assert report.streams["xray"].left_out == {"no series fits": 1, "of another series or older": 1}


def test_without_a_catalogue_rules_take_nothing_and_say_so(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    rows = [*people(), {"subject": 1, "code": "F", "hours": 5, "asset": str(tmp_path / "a.png")}]
    stream = {"kind": "image", "codes": ["F"], "shape": [8, 8], "series": [{"modality": "DX"}]}
    _, cohort = aligned(rows, task_of({"xray": stream}))
    assert cohort.index["xray_problem"].iat[0] == "no series fits: 1 seen; rule 1: modality not stated"
