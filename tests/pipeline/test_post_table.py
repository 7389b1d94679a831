"""The post's table: its rows are the post's, and no number is printed that no report holds."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cinefeat.pipeline.cli import cinefeat
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.measurements import keep_measurements, read_measurements
from cinefeat.pipeline.post_table import (
    ROWS,
    as_markdown,
    as_text,
    missing_for,
    rows_beside,
    table_rows,
)
from cinefeat.pipeline.recipe import load_recipe, shipped_recipes, to_toml


def write_report(store: Path, name: str, accuracy: float, text: str | None = None) -> None:
    folder = store / "reports" / f"{name}-split-{accuracy}"
    folder.mkdir(parents=True)
    figures = {"recipe": name, "protocol": "split", "accuracy": accuracy, "n_test": 90}
    (folder / "result.json").write_text(json.dumps(figures))
    (folder / "recipe.toml").write_text(text or to_toml(load_recipe(name)))


def test_rows_are_those_of_the_post(shared: Path) -> None:
    with (shared / "facts/post_table.csv").open(encoding="utf-8") as file:
        posted = [
            (row["system"], row["variant"], row["ucf101_split1"]) for row in csv.DictReader(file)
        ]
    ours = [(r.system, r.variant, "" if r.published is None else r.published) for r in ROWS]
    assert [(s, v, float(p) if p else "") for s, v, p in posted] == ours


def test_every_row_has_one_recipe_of_its_own() -> None:
    names = [row.recipe for row in ROWS]
    assert len(set(names)) == len(names)
    others = [name for row in ROWS for name in row.others]
    assert not set(others) & set(names)
    assert {*names, *others} <= shipped_recipes().keys()


def test_nothing_is_measured_without_a_report() -> None:
    rows = table_rows([])
    assert all(measured == "" for _, _, _, measured, _ in rows)
    assert all("UCF101" in missing for *_, missing in rows)
    text = as_text(rows)
    assert "measured " not in text.replace("not measured", "")


def test_a_report_is_shown_with_its_data_and_protocol(tmp_path: Path) -> None:
    write_report(tmp_path, "action-vlad-i3d", 0.9111)
    rows = table_rows(read_measurements({"Weizmann": tmp_path}))
    shown = [row for row in rows if row[3]]
    assert len(shown) == 1
    assert shown[0][:4] == (
        "ActionVLAD", "ActionVLAD", "92.7", "91.1 (action-vlad-i3d: Weizmann, split, 90 clips)",
    )  # fmt: skip
    assert shown[0][4].startswith("UCF101; weights vgg16-spatial-ucf101.safetensors")
    lines = as_markdown(rows).splitlines()
    assert len(lines) == len(ROWS) + 2
    assert all(len(re.findall(r"\|", line)) == 6 for line in lines)


def test_reports_of_changed_recipes_and_of_other_commands_do_not_count(tmp_path: Path) -> None:
    name = "action-vlad-i3d"
    changed = to_toml(load_recipe(name)).replace("n_anchors = 64", "n_anchors = 63")
    write_report(tmp_path, name, 1.0, changed)
    (tmp_path / "reports/fused").mkdir()
    (tmp_path / "reports/fused/result.json").write_text('{"systems": []}')
    assert read_measurements({"Weizmann": tmp_path}) == []


def test_the_newest_report_counts(tmp_path: Path) -> None:
    import os

    for accuracy, age in ((0.5, 100), (0.75, 50)):
        write_report(tmp_path, "lrcn-i3d", accuracy)
        path = tmp_path / f"reports/lrcn-i3d-split-{accuracy}/result.json"
        os.utime(path, (10**9 - age, 10**9 - age))
    assert [m.accuracy for m in read_measurements({"x": tmp_path})] == [0.75]


def test_kept_results_say_what_the_store_said(tmp_path: Path) -> None:
    write_report(tmp_path / "store", "lrcn-i3d", 0.9)
    write_report(tmp_path / "store", "idt-fv", 0.95)
    measured = read_measurements({"Weizmann": tmp_path / "store"})
    paths = keep_measurements(measured, tmp_path / "kept")
    assert sorted(path.name for path in paths) == ["idt-fv-split.json", "lrcn-i3d-split.json"]
    again = read_measurements({"Weizmann": tmp_path / "kept"})
    assert sorted(map(str, again)) == sorted(map(str, measured))
    assert rows_beside(again) == [("idt-fv", "95.0 (idt-fv: Weizmann, split, 90 clips)")]
    assert not any(str(tmp_path) in path.read_text() for path in paths)


@pytest.mark.parametrize(
    "change",
    [{"n_units": 255}, {"n_units": None}, {"unheard_of": 1}],
    ids=["changed", "damaged", "of another version"],
)
def test_kept_results_with_other_settings_do_not_count(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    write_report(tmp_path / "store", "lrcn-i3d", 0.9)
    measured = read_measurements({"x": tmp_path / "store"})
    (path,) = keep_measurements(measured, tmp_path / "kept")
    kept = json.loads(path.read_text())
    kept["settings"]["network"] |= change
    path.write_text(json.dumps(kept))
    assert read_measurements({"x": tmp_path / "kept"}) == []


def test_settings_that_are_new_since_have_their_default_in_kept_results(tmp_path: Path) -> None:
    write_report(tmp_path / "store", "lrcn-i3d", 0.9)
    (path,) = keep_measurements(read_measurements({"x": tmp_path / "store"}), tmp_path / "kept")
    kept = json.loads(path.read_text())
    del kept["settings"]["network"]["mixed_precision"]
    path.write_text(json.dumps(kept))
    assert len(read_measurements({"x": tmp_path / "kept"})) == 1


def test_the_command_keeps_and_prints_results(tmp_path: Path) -> None:
    write_report(tmp_path / "store", "lrcn-i3d", 0.9)
    kept = tmp_path / "kept"
    done = CliRunner().invoke(cinefeat, ["table", f"W={tmp_path}/store", "--keep", str(kept)])
    again = CliRunner().invoke(cinefeat, ["table", f"W={kept}"])
    assert "measured 90.0 (lrcn-i3d: W, split, 90 clips)" in again.stdout
    assert again.stdout == done.stdout
    assert done.stderr == f"kept 1 results in {kept}\n"


def test_a_folder_without_reports_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no reports"):
        read_measurements({"x": tmp_path})


def test_what_is_missing_is_named() -> None:
    row = next(row for row in ROWS if row.recipe == "c3d-svm")
    assert "UCF101" in missing_for(row)
