"""The intensive care data sets, by mapping and task alone: every row is accounted for, every task finds its cases."""

from pathlib import Path

import pytest

from ingest.align.build import align
from ingest.cohort import open_cohort
from ingest.run import ingest
from ingest.store import Observations
from ingest.task import load_task
from ingest.workspace import create_workspace
from serve.options import vocabulary

CLINICAL = Path(__file__).parents[2] / "clinical"
DATA = Path(__file__).parents[3] / "shared" / "data"
ICU = [  # mapping, task, source, rows of tables, cases, events
    ("yaib-eicu", "yaib-mortality", "icu-eicu-demo/hourly/mortality24", 36_909, 1_367, 70),
    ("eicu-demo", "eicu-mortality", "icu-eicu-demo", 1_058_784, 1_603, 140),
    ("physionet2012", "physionet2012-mortality", "icu-physionet2012", 1_758_430, 4_000, 554),
]


@pytest.mark.slow
@pytest.mark.parametrize(("mapping", "task", "source", "rows", "cases", "events"), ICU, ids=[each[1] for each in ICU])
def test_a_data_set_becomes_a_cohort_without_a_line_of_python(
    tmp_path: Path, mapping: str, task: str, source: str, rows: int, cases: int, events: int
) -> None:
    if not (DATA / source).is_dir():
        pytest.skip(f"{DATA / source}: not here")
    workspace = create_workspace(tmp_path / "workspace")
    meaning = vocabulary()
    account = ingest(workspace, [DATA / source], mapping=CLINICAL / "mappings" / f"{mapping}.yaml", vocabulary=meaning)
    assert account.by_format["table"].seen == rows
    assert account.total.refused == 0
    asked = load_task(CLINICAL / "tasks" / f"{task}.yaml")
    report = align(Observations(workspace), asked, workspace.cohort(task), vocabulary=meaning)
    assert (report.cases, report.events) == (cases, events)
    cohort = open_cohort(workspace.cohort(task))
    assert cohort.present.mean(0).min() > 0.9


@pytest.mark.parametrize("name", ["eicu-mortality", "yaib-mortality", "physionet2012-mortality"])
def test_a_task_asks_for_codes_that_its_mapping_gives(name: str) -> None:
    task = load_task(CLINICAL / "tasks" / f"{name}.yaml")
    mapping = (
        CLINICAL / "mappings" / {"eicu": "eicu-demo", "yaib": "yaib-eicu"}.get(name.split("-")[0], "physionet2012")
    )
    text = mapping.with_suffix(".yaml").read_text()
    features = [
        feature
        for stream in task.streams.values()
        for feature in (getattr(stream, "features", None) or getattr(stream, "channels", ()))
    ]
    for code in (code for feature in features for code in feature.codes):
        prefix = "//".join(code.split("//")[:2]) + "//" if code.startswith("EICU//") else code
        assert prefix in text or code in text, code
