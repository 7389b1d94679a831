"""The page of a real run: three actors of Weizmann, cuboids, from the command line to Chromium."""

import csv
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from chromium import Chromium
from report_pages import Page, assert_shown_as_stored

from cinefeat.pipeline.cli import _status

ACTORS = ("daria", "ido", "moshe")
SECTIONS = {
    "Result", "Confusions", "Classes", "Worst clips", "Time", "Failures", "Recipe and provenance",
}  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """The report folder of the run, with its page."""
    work = tmp_path_factory.mktemp("weizmann")
    for video in (shared / "data/weizmann").glob("*/*.avi"):
        if video.stem.startswith(ACTORS):
            target = work / "videos" / video.parent.name
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(video, target)
    arguments = ["run", "cuboids-bow", "--videos", work / "videos", "--store", work / "store",
                 "--group-pattern", "([a-z]+)_", "--protocol", "leave-one-group-out", "--jobs", "1"]  # fmt: skip
    assert _status([str(argument) for argument in arguments]) == 0
    (folder,) = (work / "store/reports").iterdir()
    assert _status(["report", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def result(folder: Path) -> Any:
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_its_window_and_is_quiet(
    browser: Chromium, folder: Path, artefacts: Path, width: int
) -> None:
    browser.open(folder / "report.html", width)
    browser.screenshot(artefacts / f"report-weizmann-{width}.png")
    browser.assert_quiet(folder / "report.html", width)


def test_a_person_reads_the_stored_accuracy_in_every_section(
    browser: Chromium, folder: Path, result: Any
) -> None:
    browser.open(folder / "report.html", 400)
    seen = browser.evaluate("document.querySelector('.main-figure .value').innerText")
    assert seen == f"{result['accuracy']:.1%}"
    headings = browser.evaluate("[...document.querySelectorAll('h2')].map(e => e.innerText)")
    assert set(headings) == SECTIONS


def test_every_figure_is_the_stored_one(page: Page, folder: Path, result: Any) -> None:
    tree = json.loads(page.json)
    assert tree["run"]["result"] == result
    assert tree["run"]["recipe"] == (folder / "recipe.toml").read_text(encoding="utf-8")
    assert len(page.figures) > 250
    assert_shown_as_stored(page, tree)


def test_the_confusion_matrix_is_that_of_the_predictions(page: Page, folder: Path) -> None:
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    pairs = Counter((row["label"], row["predicted"]) for row in rows)
    run = json.loads(page.json)["run"]
    names = run["class_names"]
    assert len(rows) == 10 * len(ACTORS)
    assert run["confusion"] == [[pairs[true, guess] for guess in names] for true in names]


def test_every_worst_clip_has_its_frames(page: Page) -> None:
    worst = json.loads(page.json)["run"]["worst"]
    assert [len(row["film"]["seconds"]) for row in worst] == [4] * 12
    assert len(page.all("img")) == 12


def test_every_stage_tells_its_time_and_the_describe_stage_its_throughput(page: Page) -> None:
    stages = {row["stage"]: row for row in json.loads(page.json)["stages"]}
    assert set(stages) == {"describe", "fit", "encode", "train", "evaluate"}
    assert all(row["cpu_seconds"] > 0 for row in stages.values())
    described = stages["describe"]
    per_second = described["frames"] / described["cpu_seconds"]
    assert described["frames_per_second"] == pytest.approx(per_second)
    assert described["speed"] == pytest.approx(per_second / 25)
