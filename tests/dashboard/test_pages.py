"""The pages, run without a browser."""

import json
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from explain.explanation import Explanation
from explain.kept import explanation_path, read_explanation, write_explanation
from ingest.workspace import Workspace, create_workspace
from serve.reviews import add_review, reviews

ROOT = Path(__file__).parents[2]
APP = ROOT / "dashboard" / "app.py"


def scores_of(workspace: Workspace) -> pd.DataFrame:
    path = next((workspace.root / "scores").glob("*/*.parquet"))
    return pd.read_parquet(path).sort_values("risk", ascending=False, ignore_index=True)


def said(app: AppTest) -> str:
    """Everything the page says in words."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "text", "warning", "info", "error", "code", "html")
    return "\n".join(str(getattr(e, "value", "")) for kind in kinds for e in app.get(kind))


def metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def shown_cases(app: AppTest) -> list[str]:
    return list(app.dataframe[0].value["case_id"])


def test_the_worklist_shows_every_case_the_riskiest_first(workspace: Workspace, run_app: Any) -> None:
    app = run_app(workspace.root)
    assert not app.exception
    scores = scores_of(workspace)
    assert shown_cases(app) == list(scores["case_id"])
    assert metrics(app)["Cases"] == "120"
    assert metrics(app)["At 50\u00a0% or more"] == str(int((scores["risk"] >= 0.5).sum()))
    text = said(app)
    assert "ICU transfer or death within 48 h, asked 24 h after admission" in text.replace("\\", "")
    assert "v0002" in text


def test_the_worklist_names_the_source_with_the_largest_share(workspace: Workspace, run_app: Any) -> None:
    app = run_app(workspace.root)
    first = app.dataframe[0].value.iloc[0]
    folder = next((workspace.root / "explanations").glob("*/*"))
    made = read_explanation(explanation_path(folder, first["case_id"]))
    top = max(made.streams, key=lambda name: abs(made.streams[name]))
    label = {"xray": "X-ray"}.get(top, top.capitalize())
    assert first["driver"] == f"{'▲' if made.streams[top] > 0 else '▼'} {label}"
    assert app.dataframe[0].value.iloc[-1]["driver"] == ""


def test_every_filter_narrows_the_list(workspace: Workspace, run_app: Any, built: ModuleType) -> None:
    scores = scores_of(workspace)
    app = run_app(workspace.root)
    app.number_input(key="filter_risk").set_value(60).run()
    assert shown_cases(app) == list(scores.loc[scores["risk"] >= 0.6, "case_id"])
    app.multiselect(key="filter_without").set_value(["xray"]).run()
    app.multiselect(key="filter_with").set_value(["sound"]).run()
    fits = (scores["risk"] >= 0.6) & ~scores["has_xray"] & scores["has_sound"]
    assert shown_cases(app) == list(scores.loc[fits, "case_id"])
    app.number_input(key="filter_risk").set_value(0)
    app.multiselect(key="filter_without").set_value([])
    app.multiselect(key="filter_with").set_value([])
    app.selectbox(key="filter_split").set_value("test").run()
    assert shown_cases(app) == list(scores.loc[scores["split"] == "test", "case_id"])
    app.selectbox(key="filter_split").set_value("all")
    app.text_input(key="filter_search").set_value(scores["case_id"][7]).run()
    assert shown_cases(app) == [scores["case_id"][7]]
    app.text_input(key="filter_search").set_value("no such case").run()
    assert "No case fits these filters." in said(app)


def test_the_worklist_can_be_narrowed_to_what_was_reviewed(
    workspace: Workspace, run_app: Any, built: ModuleType
) -> None:
    case = scores_of(workspace)["case_id"][3]
    add_review(
        workspace.database,
        task=built.TASK,
        case_id=case,
        model_version="v0002",
        reviewer="R",
        verdict="agree",
        risk=0.5,
    )
    app = run_app(workspace.root)
    app.segmented_control(key="filter_state").set_value("agreed").run()
    assert shown_cases(app) == [case]
    assert metrics(app)["Reviewed"] == "1"
    app.segmented_control(key="filter_state").set_value("unreviewed").run()
    assert case not in shown_cases(app)
    assert len(shown_cases(app)) == 119


def test_filters_are_kept_while_a_case_is_read(workspace: Workspace, run_app: Any) -> None:
    app = run_app(workspace.root)
    app.number_input(key="filter_risk").set_value(60).run()
    kept = shown_cases(app)
    app.switch_page("views/case.py").run()
    assert f"1 of {len(kept)}" in said(app)
    app.switch_page("views/worklist.py").run()
    assert shown_cases(app) == kept


def test_a_case_says_its_risk_its_range_and_the_average(workspace: Workspace, run_app: Any) -> None:
    score = scores_of(workspace).iloc[30]
    app = run_app(workspace.root, "case", score["case_id"])
    assert not app.exception
    prevalence = json.loads(next(workspace.root.glob("cohorts/*/statistics.json")).read_text())["prevalence"]
    text = said(app).replace("\u00a0", " ")
    low, high = (f"{100 * score[part]:.0f} %" for part in ("risk_low", "risk_high"))
    assert f"Risk **{100 * score['risk']:.0f} %**, likely between **{low}** and **{high}**" in text
    assert f"on average {100 * prevalence:.0f} % of the cases here have this outcome" in text


def test_a_case_without_a_risk_comes_first_and_says_why(workspace: Workspace, run_app: Any) -> None:
    """FAULTS 29: no number, no interval, no shares, and nothing to agree with."""
    path = next((workspace.root / "scores").glob("*/*.parquet"))
    scores = pd.read_parquet(path)
    case = str(scores["case_id"].iloc[7])
    risk = 100 * float(scores["risk"].iloc[7])
    scores.loc[7, ["risk", "risk_low", "risk_high", "logit", "logit_std"]] = float("nan")
    reason = "xray: not the kind of image that the model was trained on"
    scores.assign(reason=[reason if i == 7 else "" for i in range(len(scores))]).to_parquet(path)
    listed = run_app(workspace.root)
    assert not listed.exception
    assert shown_cases(listed)[0] == case
    assert listed.dataframe[0].value["interval"].iloc[0] == "no risk given"
    assert metrics(listed)["No risk given"] == "1"
    listed.number_input(key="filter_risk").set_value(99).run()
    assert shown_cases(listed)[0] == case
    app = run_app(workspace.root, "case", case)
    assert not app.exception
    text = said(app).replace("\\", "").replace("\u00a0", " ")
    assert "no risk given" in text
    assert "The model gives no risk. Xray: not the kind of image that the model was trained on." in text
    assert f"{risk:.0f} %**" not in text
    assert "What moves this risk" not in text
    assert "Your review" not in text
    assert "What the model saw" in text


def test_a_case_names_its_absent_sources_and_that_the_model_is_less_sure(workspace: Workspace, run_app: Any) -> None:
    scores = scores_of(workspace)
    score = scores[~scores["has_xray"]].iloc[0]
    text = said(run_app(workspace.root, "case", score["case_id"]))
    assert "Absent: X-ray".replace("-", "\\-") in text
    assert "less sure without them" in text


def test_what_if_says_what_the_model_said_of_that_coalition(workspace: Workspace, run_app: Any) -> None:
    scores = scores_of(workspace)
    score = scores[scores["has_labs"] & scores["has_notes"]].iloc[2]
    folder = next((workspace.root / "explanations").glob("*/*"))
    made = read_explanation(explanation_path(folder, score["case_id"]))
    app = run_app(workspace.root, "case", score["case_id"])
    for hidden in ("vitals", "notes"):
        app.checkbox(key=f"what-if {score['case_id']} {hidden}").uncheck().run()
    kept = [name for name in made.streams if name not in ("vitals", "notes")]
    risk = 1 / (1 + 2.718281828459045 ** -made.coalitions["+".join(kept)])
    shown = {label: value.replace("\u00a0", " ") for label, value in metrics(app).items()}
    digits = 1 if risk < 0.0995 else 0
    assert shown["Risk without vitals and notes"] == f"{100 * risk:.{digits}f} %"


def test_attributions_that_do_not_sum_are_withheld_with_their_error(workspace: Workspace, run_app: Any) -> None:
    score = scores_of(workspace).iloc[0]
    folder = next((workspace.root / "explanations").glob("*/*"))
    made = read_explanation(explanation_path(folder, score["case_id"]))
    wrong = {**made.streams, "vitals": made.streams["vitals"] + 0.25}
    write_explanation(folder, type(made)(**{**vars(made), "streams": wrong}))
    app = run_app(workspace.root, "case", score["case_id"])
    assert not app.exception
    text = said(app)
    assert "withheld" in text
    assert "0.2500" in text
    assert "What moves this risk" not in text
    assert "What if a source were missing?" not in text
    assert run_app(workspace.root).dataframe[0].value["driver"].iloc[0] == ""


def test_an_explanation_of_an_older_score_is_not_shown(workspace: Workspace, run_app: Any) -> None:
    score = scores_of(workspace).iloc[0]
    folder = next((workspace.root / "explanations").glob("*/*"))
    made = read_explanation(explanation_path(folder, score["case_id"]))
    later = {key: value - 1 for key, value in made.coalitions.items()}
    moved = {**vars(made), "base_logit": made.base_logit - 1, "logit": made.logit - 1, "coalitions": later}
    write_explanation(folder, type(made)(**moved))
    text = said(run_app(workspace.root, "case", score["case_id"]))
    assert "out of date" in text
    assert "What moves this risk" not in text


def test_a_score_whose_inputs_were_corrected_since_is_called_stale(workspace: Workspace, run_app: Any) -> None:
    """FAULTS 14."""
    index = next((workspace.root / "cohorts").glob("*/shards/00000/index.parquet"))
    frame = pd.read_parquet(index)
    scored = next((workspace.root / "scores").glob("*/*.parquet"))
    frame["inputs"] = [f"digest {case}" for case in frame["case_id"]]
    inputs = frame.set_index("case_id")["inputs"]
    scores = pd.read_parquet(scored)
    riskiest, second = scores.sort_values("risk", ascending=False)["case_id"].iloc[:2]
    inputs[riskiest] = "digest of what it was"
    scores.assign(inputs=inputs.loc[scores["case_id"]].to_numpy()).to_parquet(scored)
    frame.to_parquet(index)
    app = run_app(workspace.root)
    assert not app.exception
    table = app.dataframe[0].value.set_index("case_id")["stale"]
    assert table[riskiest] == "stale"
    assert set(table.drop(riskiest)) == {""}
    case = run_app(workspace.root, "case", riskiest)
    assert not case.exception
    assert "This score is stale. What it was scored on has changed since: score again." in said(case).replace("\\", "")
    assert "This score is stale" not in said(run_app(workspace.root, "case", second))


def test_an_unexplained_case_says_so(workspace: Workspace, run_app: Any) -> None:
    app = run_app(workspace.root, "case", scores_of(workspace)["case_id"].iloc[-1])
    assert not app.exception
    assert "has not been explained yet" in said(app)
    assert "Explain this case now" in [button.label for button in app.button]


@pytest.mark.slow
def test_a_case_can_be_explained_on_the_spot(
    workspace: Workspace, run_app: Any, built: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    import explain.explain
    from dashboard import explaining
    from ingest.cohort import Cohort

    score = scores_of(workspace).iloc[-1]

    def known(_model: object, cohort: Cohort, rows: list[int]) -> Iterator[Explanation]:
        yield built.explanation_of(cohort, rows[0], float(score["logit"]))

    monkeypatch.setattr(explain.explain, "explain_cases", known)
    monkeypatch.setattr(explaining, "_predictor", lambda folder: folder)
    app = run_app(workspace.root, "case", score["case_id"])
    app.button(key="explain").click().run()
    assert not app.exception
    assert "What moves this risk" in said(app)
    folder = next((workspace.root / "explanations").glob("*/*"))
    assert read_explanation(explanation_path(folder, score["case_id"])).logit == pytest.approx(score["logit"])


def test_a_review_is_stored_and_shown(workspace: Workspace, run_app: Any, built: ModuleType) -> None:
    score = scores_of(workspace).iloc[4]
    case = score["case_id"]
    app = run_app(workspace.root, "case", case)
    app.segmented_control(key=f"verdict {case}").set_value("Override").run()
    app.button(key="save").click().run()
    assert "Write your name" in said(app)
    app.text_input(key="filter_reviewer").set_value("Dr. A. <b>Reader</b>")
    app.slider(key=f"own {case}").set_value(12)
    app.text_area(key=f"comment {case}").set_value("improved since").run()
    app.button(key="save").click().run()
    assert not app.exception
    kept = reviews(workspace.database, built.TASK, case)[0]
    assert (kept.reviewer, kept.verdict, kept.own_risk, kept.comment, kept.model_version, kept.risk) == (
        "Dr. A. <b>Reader</b>", "override", 0.12, "improved since", "v0002", score["risk"],
    )  # fmt: skip
    assert "improved since" in app.dataframe[-1].value["Comment"].tolist()


def test_a_table_downloads_no_formula(workspace: Workspace, built: ModuleType, run_app: Any) -> None:
    """FAULTS 34: a table's own download as CSV is what the table was given."""
    score = scores_of(workspace).iloc[5]
    comment = '=HYPERLINK("http://evil.example")'
    add_review(
        workspace.database, task=built.TASK, case_id=score["case_id"], reviewer="@SUM(A1)", verdict="agree",
        own_risk=None, comment=comment, model_version="v0002", risk=float(score["risk"]),
    )  # fmt: skip
    app = run_app(workspace.root, "case", score["case_id"])
    assert not app.exception
    table = app.dataframe[-1].value
    assert (table["Comment"][0], table["Reviewer"][0]) == (f"'{comment}", "'@SUM(A1)")
    for source in (ROOT / "dashboard").rglob("*.py"):
        assert source.name == "parts.py" or "st.dataframe(" not in source.read_text(), "see data_table"


def test_previous_and_next_follow_the_worklist(workspace: Workspace, run_app: Any) -> None:
    scores = scores_of(workspace)
    app = run_app(workspace.root, "case", scores["case_id"][1])
    assert "2 of 120" in said(app)
    next(button for button in app.button if button.label == "Next").click().run()
    assert scores["case_id"][2].replace("-", "\\-") in said(app)


@pytest.mark.parametrize("name", ["../../../../etc/passwd", "nobody", ""])
def test_a_name_in_the_address_that_is_no_scored_case_is_refused(workspace: Workspace, run_app: Any, name: str) -> None:
    app = run_app(workspace.root, "case", name)
    assert not app.exception
    assert ("No scored case bears the name" in said(app)) == bool(name)


def test_a_hostile_note_is_shown_as_text(workspace: Workspace, run_app: Any, built: ModuleType) -> None:
    scores = scores_of(workspace)
    case = scores.loc[scores["has_notes"], "case_id"].iloc[0]
    built.change_note(workspace, case, built.HOSTILE)
    app = run_app(workspace.root, "case", case)
    found = Shown()
    found.feed(next(e.proto.body for e in app.get("html") if "tt-note" in e.proto.body and "<div" in e.proto.body))
    assert found.tags <= {"div", "span"}
    assert found.text == built.HOSTILE


class Shown(HTMLParser):
    """The tags of a piece of HTML, and what a reader sees of it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_no_page_needs_torch(workspace: Workspace) -> None:
    code = f"""
import sys
from streamlit.testing.v1 import AppTest
app_file = {str(APP)!r}
sys.argv = [app_file, "--workspace", {str(workspace.root)!r}]
app = AppTest.from_file(app_file, default_timeout=60).run()
for page in ("case", "model", "data"):
    assert not app.switch_page(f"views/{{page}}.py").run().exception
heavy = {{"torch", "monai", "sklearn", "lightning"}} & set(sys.modules)
assert not heavy, heavy
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stderr


def test_the_model_page_shows_the_evaluation_with_its_intervals(workspace: Workspace, run_app: Any) -> None:
    app = run_app(workspace.root, "model")
    assert not app.exception
    report = json.loads(next(workspace.root.glob("reports/*/*.json")).read_text())
    fused = next(model for model in report["models"] if model["name"] == "fused")
    auroc = next(metric for metric in app.metric if metric.label == "AUROC")
    assert auroc.value == f"{fused['metrics']['auroc']['value']:.3f}"
    assert auroc.delta == f"{fused['metrics']['auroc']['low']:.3f} to {fused['metrics']['auroc']['high']:.3f}"
    groups = next(frame.value for frame in app.dataframe if "Group" in frame.value)
    assert list(groups["Group"]) == [f"{g['grouping']}: {g['group']}" for g in report["subgroups"]]
    assert list(groups["Cases"]) == [g["n"] for g in report["subgroups"]]
    assert app.selectbox(key="filter_version").value == "v0002"
    app.selectbox(key="filter_version").set_value("v0001").run()
    assert "telltale evaluate" in said(app)


def test_the_data_page_accounts_for_every_record(workspace: Workspace, run_app: Any) -> None:
    app = run_app(workspace.root, "data")
    assert not app.exception
    shown = {label: int(value.replace(",", "")) for label, value in metrics(app).items()}
    assert shown["Records in"] == shown["Used"] + shown["Refused"] + shown["Skipped"] == 1000


def test_no_workspace_says_what_to_run(tmp_path: Path, run_app: Any) -> None:
    app = run_app(tmp_path / "nothing")
    assert not app.exception
    assert "expected a workspace, found none" in said(app)
    assert "telltale ingest" in said(app)


@pytest.mark.parametrize("page", [None, "case", "model", "data"])
def test_an_empty_workspace_says_what_to_run(tmp_path: Path, run_app: Any, page: str | None) -> None:
    create_workspace(tmp_path / "w")
    app = run_app(tmp_path / "w", page)
    assert not app.exception
    assert "telltale " in said(app)
    app = run_app(tmp_path / "w", page, None, "--task", "deterioration")
    assert not app.exception
    assert "telltale " in said(app)


def test_a_hundred_thousand_cases_are_listed(workspace: Workspace, run_app: Any) -> None:
    path = next((workspace.root / "scores").glob("*/*.parquet"))
    many = pd.concat([pd.read_parquet(path)] * 834, ignore_index=True)
    many["case_id"] = [f"case {i}" for i in range(len(many))]
    many.to_parquet(path)
    app = run_app(workspace.root)
    assert not app.exception
    assert metrics(app)["Cases"] == "100,080"
    assert len(shown_cases(app)) == 1000
    app.text_input(key="filter_search").set_value("case 99999").run()
    assert shown_cases(app) == ["case 99999"]
