"""The page of a run: every figure in it is a stored one, and it is whole without anything else."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_folders import CLASSES, GROUPS, N_FRAMES, make_run
from report_pages import Page, assert_shown_as_stored

from cinefeat.classifiers import mcnemar_test
from cinefeat.pipeline import cli
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.reporting.figures import read_run
from cinefeat.pipeline.reporting.page import FORMS

FAILED = (("9/eve", "flow", "cut off, <i>early</i>"),)


def report(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["report", *map(str, arguments)])
    assert ended.value.code == 0


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    make_run(folder, "alpha", 1, failures=FAILED, curves=True)
    make_run(folder, "beta", 2, strength=3.0)
    return folder


@pytest.fixture(scope="module")
def text(store: Path) -> str:
    report(store / "reports/alpha-x", store / "reports/beta-x", "--worst", 5)
    return (store / "reports/alpha-x/report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


@pytest.fixture(scope="module")
def tree(page: Page) -> Any:
    return json.loads(page.json)


def predictions(store: Path, name: str) -> list[dict[str, str]]:
    with (store / f"reports/{name}-x/predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_figure_shown_is_the_one_at_its_place(page: Page, tree: Any) -> None:
    assert len(page.figures) > 130
    assert_shown_as_stored(page, tree)


def test_percentages_are_shown_to_a_tenth(page: Page) -> None:
    shown = {pointer: (value, text) for pointer, value, text in page.figures}
    value, text = shown["/run/result/accuracy"]
    assert abs(float(text.rstrip("%")) - 100 * value) <= 0.05 + 1e-9


@pytest.mark.parametrize("form, value, shown", [
    ("percent", 0.98888, "98.9%"), ("points", -0.0333, "−3.3"), ("points", -0.0, "0.0"),
    ("points", 0.0333, "+3.3"), ("count", 13320, "13,320"), ("score", -0.36, "−0.360"),
    ("score", 123.4, "123"), ("score", 0.0463, "0.046"), ("score", 4.2e-4, "0.000420"), ("seconds", 0.05, "50 ms"), ("seconds", 59.9, "59.9 s"),
    ("seconds", 90, "1.5 min"), ("seconds", 5400, "1.5 h"), ("rate", 1909.2, "1,909"),
    ("rate", 3.24, "3.2"), ("p", 0.25, "0.250"), ("p", 0.0002, "< 0.001"),
])  # fmt: skip
def test_forms(form: str, value: float, shown: str) -> None:
    assert FORMS[form](value) == shown


def test_the_tree_holds_the_stored_result(store: Path, tree: Any) -> None:
    assert tree["run"]["result"] == json.loads((store / "reports/alpha-x/result.json").read_text())
    assert tree["run"]["recipe"] == (store / "reports/alpha-x/recipe.toml").read_text()
    assert [tuple(row.values()) for row in tree["run"]["failures"]] == list(FAILED)


def test_counts_are_those_of_the_predictions(store: Path, tree: Any) -> None:
    rows, run = predictions(store, "alpha"), tree["run"]
    for i, true in enumerate(CLASSES):
        for j, predicted in enumerate(CLASSES):
            n = sum(r["label"] == true and r["predicted"] == predicted for r in rows)
            assert run["confusion"][i][j] == n
    for row in run["classes"]:
        found = [r for r in rows if r["label"] == row["class"]]
        assert row["n"] == len(found) == len(GROUPS)
        assert row["right"] == sum(r["label"] == r["predicted"] for r in found)
        assert row["recall"] == run["result"]["per_class"][row["class"]]
    assert sum(pair["n"] for pair in run["confusions"]) == len(rows) - run["n_right"]
    shares = np.mean([row["average_precision"] for row in run["classes"]])
    assert shares == pytest.approx(run["result"]["mean_average_precision"])


def test_the_worst_clips_are_those_with_the_smallest_lead(store: Path, tree: Any) -> None:
    leads = {}
    for row in predictions(store, "alpha"):
        scores = {name: float(row[name]) for name in CLASSES}
        own = scores.pop(row["label"])
        leads[row["clip"]] = own - max(scores.values())
    worst = sorted(leads, key=leads.__getitem__)[:5]
    assert [row["clip"] for row in tree["run"]["worst"]] == worst
    assert [row["lead"] for row in tree["run"]["worst"]] == [leads[name] for name in worst]
    for row in tree["run"]["worst"]:
        assert (row["label"] == row["predicted"]) == (row["lead"] > 0) == (row["rank"] == 1)
        assert row["top"][0]["class"] == row["predicted"]


def test_pairs_are_tested_by_mcnemar_on_the_same_clips(store: Path, tree: Any) -> None:
    right = {
        name: {r["clip"]: r["label"] == r["predicted"] for r in predictions(store, name)}
        for name in ("alpha", "beta")
    }
    clips = sorted(right["alpha"])
    test = mcnemar_test([right["alpha"][c] for c in clips], [right["beta"][c] for c in clips])
    (pair,) = tree["comparison"]["pairs"]
    assert (pair["only_first"], pair["only_second"], pair["p"]) == tuple(test)
    beta = json.loads((store / "reports/beta-x/result.json").read_text())
    for key in ("accuracy", "accuracy_interval", "mean_class_accuracy", "mean_average_precision"):
        assert tree["comparison"]["runs"][1][key] == beta[key]
    assert pair["difference"] == pytest.approx(beta["accuracy"] - tree["run"]["result"]["accuracy"])


def test_times_are_the_sums_of_the_products(tree: Any) -> None:
    n = len(CLASSES) * len(GROUPS)
    costs = {row["stage"]: (row["products"], row["cpu_seconds"]) for row in tree["stages"]}
    assert costs == {
        "flow": (n, n * 0.5), "encode": (2 * n, 2 * n * 0.25), "train": (2, 4.0),
        "evaluate": (2, 0.25),
    }  # fmt: skip
    flow = tree["stages"][0]
    assert (flow["frames"], flow["frames_per_second"], flow["speed"]) == (n * N_FRAMES, 24.0, 1.0)
    assert tree["n_found"] == n


def test_learning_curves_are_the_stored_ones(page: Page, tree: Any) -> None:
    (stream,) = tree["curves"]
    assert stream["stream"] == "tsn, rgb"
    assert sorted(fold["curves"]["train/loss"] for fold in stream["folds"]) == [
        [0.25, 0.5, 0.75], [0.25, 1.5, 0.75],
    ]  # fmt: skip
    assert {fold["kept_epoch"] for fold in stream["folds"]} == {2}
    labels = [attrs.get("aria-label") or "" for attrs in page.all("svg")]
    assert any(label.startswith("Learning curves of tsn, rgb") for label in labels)


def test_the_page_asks_for_nothing_and_runs_nothing(page: Page, text: str) -> None:
    for tag, attrs in page.elements:
        for name, value in attrs.items():
            if name in {"src", "href", "xlink:href", "action", "data", "poster"}:
                assert str(value).startswith(("#", "data:")), f"{tag} {name}={value}"
            assert not name.startswith("on"), f"{tag} has a handler"
    assert [attrs["type"] for attrs in page.all("script")] == ["application/json"]
    assert "url(http" not in text
    assert "@import" not in text


def test_names_of_the_user_are_text_and_not_markup(page: Page, text: str) -> None:
    assert "Made up </script>" not in text
    assert "<i>early</i>" not in text
    assert not page.all("b") or all(not attrs for attrs in page.all("b"))


def test_headings_go_down_one_level_at_a_time_and_name_their_sections(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if tag in {"h1", "h2", "h3", "h4"}]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))  # noqa: RUF007
    ids = {attrs["id"] for _, attrs in page.elements if attrs.get("id")}
    for _, attrs in page.elements:
        assert attrs.get("aria-labelledby", next(iter(ids))) in ids
    targets = {str(attrs["href"])[1:] for attrs in page.all("a")}
    assert targets <= ids


def test_tables_pictures_and_scrolling_parts_are_named(page: Page) -> None:
    assert all(attrs.get("scope") in {"row", "col"} for attrs in page.all("th"))
    assert all(attrs.get("alt") for attrs in page.all("img"))
    assert all(attrs.get("role") == "img" and attrs.get("aria-label") for attrs in page.all("svg"))
    scrolling = [attrs for attrs in page.all("div") if attrs.get("class") == "scroll"]
    assert all(
        a.get("tabindex") == "0" and a.get("role") and a.get("aria-label") for a in scrolling
    )
    assert page.all("html")[0]["lang"] == "en"


def test_numbers_of_tables_are_figures(page: Page) -> None:
    numbers = [text for text in page.bare if text.replace(".", "").replace("%", "").isdigit()]
    versions = {"0.1.0", "2", "1"}  # of programs and stages
    assert set(numbers) <= versions


def test_a_clip_with_a_video_has_a_strip_and_the_others_say_why(
    store: Path, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    report(store / "reports/alpha-x", "-o", path, "--worst", 100)
    page = Page(path.read_text(encoding="utf-8"))
    films = {row["clip"]: row["film"] for row in json.loads(page.json)["run"]["worst"]}
    assert films.pop("0/ann")["seconds"] == pytest.approx([0.04, 0.16, 0.28, 0.4])
    assert {film["reason"] for film in films.values()} == {"the video is no longer there"}
    (image,) = page.all("img")
    assert (image["width"], image["height"]) == ("652", "120")


def test_one_run_is_not_compared(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    report(store / "reports/beta-x", "-o", path)
    page = Page(path.read_text(encoding="utf-8"))
    assert json.loads(page.json)["comparison"] is None
    assert not any(pointer.startswith("/comparison") for pointer, _, _ in page.figures)


def test_a_run_without_its_store_has_no_times(store: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    path = tmp_path / "page.html"
    report(store / "reports/beta-x", "-o", path, "--store", tmp_path / "empty")
    page = Page(path.read_text(encoding="utf-8"))
    tree = json.loads(page.json)
    assert (tree["stages"], tree["cpu_seconds"], tree["n_found"]) == ([], None, 0)
    assert "their times are not known" in path.read_text(encoding="utf-8")


def test_the_same_folders_give_the_same_bytes(store: Path, text: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    report(store / "reports/alpha-x", store / "reports/beta-x", "--worst", 5, "-o", path)
    assert path.read_text(encoding="utf-8") == text


def test_many_classes_are_a_picture(tmp_path: Path) -> None:
    classes = tuple(f"class{i:02}" for i in range(40))
    folder = make_run(tmp_path, "many", 0, classes=classes, strength=2.0)
    report(folder)
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert page.all("svg")[0]["aria-label"] == (
        "Confusion matrix of 40 classes, rows true, columns predicted"
    )
    assert not any(attrs.get("class") == "matrix" for attrs in page.all("table"))


@pytest.mark.parametrize("spoil, sentence", [
    (lambda folder: (folder / "result.json").unlink(), "has no result.json"),
    (lambda folder: (folder / "result.json").write_text("{}"), "lacks accuracy"),
    (lambda folder: (folder / "result.json").write_text("{"), "not JSON"),
    (lambda folder: (folder / "predictions.csv").write_text("a,b\n"), "needs the columns"),
    (lambda folder: _flip(folder / "predictions.csv"), "the folder was changed"),
])  # fmt: skip
def test_a_spoilt_folder_is_refused(tmp_path: Path, spoil: Any, sentence: str) -> None:
    folder = make_run(tmp_path, "alpha", 1)
    spoil(folder)
    with pytest.raises(InputError, match=sentence):
        read_run(folder, {})


def _flip(path: Path) -> None:
    header, first, *rest = path.read_text().splitlines()
    cells = first.split(",")
    cells[2] = "walk" if cells[2] != "walk" else "run"
    assert cells[1] in {"jump"}
    path.write_text("\n".join([header, ",".join(cells), *rest]) + "\n")
