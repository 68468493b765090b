"""The report is one file, shows every number, escapes every text, and stands in a real browser."""

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from models.evaluate import Evaluation, evaluate
from models.evaluate.figures import forest_figure
from models.evaluate.report import findings, inline_svg, render_report, write_report

CHROMIUM = shutil.which("chromium")
HOSTILE = "<img src=x onerror=alert(1)> & $x^2$"


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def made(n: int = 240, *, noise: float = 0.0, single: str = "xray") -> Evaluation:
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(2, n))
    has = rng.random(n) < 0.6
    return evaluate(
        {"fused": sigmoid(1.6 * x + noise * z), single: sigmoid(x * has), "gradient boosting": sigmoid(x + z)},
        (rng.random(n) < sigmoid(1.6 * x)).astype(float),
        np.arange(n),
        np.where(has, f"record + {single}", "record").tolist(),
        {single: has},
        groupings={"ward": np.where(np.arange(n) < 4, "new", np.where(z > 0, single, "south"))},
        n_bootstrap=100,
        rng=rng,
    )


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return made()


def test_it_is_one_whole_page_without_an_address_or_a_script(evaluation: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(evaluation, path, title="ICU transfer", model_version="v1", split_note="By subject.", made="today")
    page = path.read_text(encoding="utf-8")
    assert not re.search(r"https?:|<script|<link|@import|src=|<iframe", page)
    assert page.count("<svg viewBox") == 5
    tags: list[str] = []
    ids: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            ids.extend(value or "" for name, value in attributes if name == "id")

    Reader().feed(page)
    assert tags.count("table") == 7
    assert len(ids) == len(set(ids)) > 20
    for target in re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', page):
        assert (target[0] or target[1]) in ids


def test_numbers_are_those_of_the_evaluation(evaluation: Evaluation) -> None:
    page = render_report(evaluation, "ICU transfer", "v1")
    for model in evaluation.models:
        for name, estimate in model.metrics.items():
            digits = 2 if name in ("calibration_slope", "calibration_intercept") else 3
            assert f"{estimate.value:.{digits}f}".replace("-", "−") in page, (model.name, name)
    assert f"<b>{evaluation.n}</b> cases" in page
    assert f"{evaluation.bootstrap.resamples} resamples" in page


def test_subgroups_and_alert_budgets_are_shown_and_differences_from_the_rest_are_marked(evaluation: Evaluation) -> None:
    page = render_report(evaluation, "ICU transfer", "v1")
    for result in evaluation.subgroups:
        for estimate in result.metrics.values():
            assert f"<td>{estimate.value:.2f}<small>".replace("-", "−") in page, result.group
    marked = sum(d.excludes_zero for r in evaluation.subgroups for d in r.differences.values())
    assert page.count('<td class="apart">') == marked
    assert page.count("less the rest") == 2  # of a group of four cases nothing is said
    assert re.search(r'<th scope="row">new</th><td>4</td><td>\d</td>\s*<td class="none" colspan="5">too few: ', page)
    for alert in evaluation.alerts:
        assert f"<td>{alert.alerts} of 240</td><td>{alert.threshold:.3f}</td>" in page
    assert f"DeLong {evaluation.difference('xray').delong_p:.2f}" in page or "DeLong &lt; 0.01" in page


def test_an_evaluation_without_subgroups_or_alerts_has_no_empty_table(evaluation: Evaluation) -> None:
    page = render_report(replace(evaluation, subgroups=(), alerts=()), "t", "v")
    assert "<h2>Subgroups</h2>" not in page
    assert "Number needed to evaluate" not in page


def test_the_same_evaluation_gives_the_same_page(evaluation: Evaluation) -> None:
    assert render_report(evaluation, "t", "v") == render_report(evaluation, "t", "v")


def test_every_text_is_escaped_in_the_page_and_in_its_figures() -> None:
    page = render_report(made(single=HOSTILE), HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    assert "<img" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt; &amp; $x^2$") > 8


def test_findings_claim_no_more_than_the_intervals_allow() -> None:
    clear = findings(made())
    assert clear[0].startswith(
        "The fused model separates the outcomes better than the best single modality (xray): AUROC +"
    )
    noisy = findings(made(noise=1.6))
    assert any("not shown to be better or worse than gradient boosting" in sentence for sentence in noisy)
    assert any("Its calibration error of" in sentence and "is more than chance gives" in sentence for sentence in noisy)
    assert any("too extreme: slope" in sentence for sentence in noisy)


def test_a_figure_becomes_svg_in_the_colours_of_the_page(evaluation: Evaluation) -> None:
    svg = inline_svg(forest_figure(evaluation), "forest")
    assert "var(--fused)" in svg
    assert "#1457d9" not in svg
    assert "<metadata" not in svg


def test_a_pattern_without_enough_events_shows_the_reason() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(60) < 0.4).astype(float)
    patterns = ["record"] * 56 + ["none"] * 4
    found = evaluate(
        {"fused": sigmoid(rng.normal(size=60) + y)}, y, np.arange(60), patterns, {}, n_bootstrap=50, rng=rng
    )
    page = render_report(found, "t", "v")
    assert "too few: " in page
    assert "Best single modality" not in page


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1366, 820])
def test_a_browser_shows_it_without_requests_errors_or_sideways_scrolling(
    evaluation: Evaluation, tmp_path: Path, width: int, scheme: str
) -> None:
    from playwright.sync_api import sync_playwright

    write_report(evaluation, tmp_path / "report.html", title="ICU transfer", model_version="v1")
    seen: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[f"--disable-{what}" for what in ("gpu", "quic", "sync", "background-networking", "component-update")]
            + ["--no-sandbox", "--no-first-run"],
        )
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        page.on("console", lambda message: seen.append(message.text))
        page.on("request", lambda request: seen.append(request.url))
        page.goto((tmp_path / "report.html").as_uri())
        across = page.evaluate("document.documentElement.scrollWidth")
        ink = page.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill")
        browser.close()
    assert seen == [(tmp_path / "report.html").as_uri()]
    assert across == width
    assert ink == ("rgb(27, 36, 48)" if scheme == "light" else "rgb(230, 234, 239)")
