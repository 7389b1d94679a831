"""Model files: exact copies of what was learned, found again under the digests that they had."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from cinefeat.pipeline import plan as planning
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.models import read_model, unpack_model, write_model
from cinefeat.pipeline.plan import jobs, plan, progress
from cinefeat.pipeline.predicting import Predictions, find_clips, predictions_csv
from cinefeat.pipeline.protocol import Fold
from cinefeat.pipeline.recipe import load_recipe
from cinefeat.pipeline.store import read_arrays, read_attrs, write_product

CLIPS = tuple(
    Clip(f"{label}/{i}", Path(f"/v/{label}{i}.avi"), label, f"g{i}", sha256=f"{label}{i}")
    for label in ("walk", "wave")
    for i in range(3)
)
FOLD = Fold("all", tuple(clip.id for clip in CLIPS), ())
NEW = (Clip("new", Path("/v/new.avi"), "", sha256="n"),)
RECIPE = load_recipe("dt-bow")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model file, packed from a store whose learned products are made up."""
    nodes = plan(RECIPE, tmp_path / "store", CLIPS, FOLD)
    for stage in ("fit", "train"):
        for job in jobs(nodes[stage], nodes[stage].parts(), "cpu"):
            arrays = {
                "estimator": np.array('{"class": "none"}'),
                "nested/codewords_": np.arange(6.0, dtype=np.float32).reshape(2, 3),
                "classes_": np.array(["walk", "wave"]),
            }
            write_product(job.target, arrays, {**job.attrs, "cpu_seconds": 0.5, "is_fitted": True})
    write_model(tmp_path / "model.h5", RECIPE, nodes, "all", "all")
    return tmp_path / "model.h5"


def test_a_model_tells_its_recipe_and_classes(model: Path) -> None:
    found = read_model(model)
    assert found.recipe == RECIPE
    assert found.classes == ("walk", "wave")
    assert list(found.learned) == ["fit", "train"]


def test_unpacked_products_are_the_packed_ones_in_the_same_places(
    model: Path, tmp_path: Path
) -> None:
    unpack_model(read_model(model), tmp_path / "other")
    there = {p.relative_to(tmp_path / "other"): p for p in (tmp_path / "other").rglob("*.h5")}
    assert len(there) == 5 + 1  # codebooks and the classifier
    for name, path in there.items():
        original = tmp_path / "store" / name
        assert read_attrs(path) == read_attrs(original)
        arrays = read_arrays(path)
        assert arrays.keys() == read_arrays(original).keys()
        for key, array in read_arrays(original).items():
            np.testing.assert_array_equal(arrays[key], array)
            assert np.asarray(arrays[key]).dtype == np.asarray(array).dtype


def test_a_plan_with_a_model_has_nothing_to_learn(model: Path, tmp_path: Path) -> None:
    found = read_model(model)
    unpack_model(found, tmp_path / "other")
    nodes = plan(found.recipe, tmp_path / "other", NEW, Fold("new", (), ("new",)), found.learned)
    before = plan(RECIPE, tmp_path / "store", CLIPS, FOLD)
    for stage in ("fit", "train"):
        assert progress(nodes[stage]).missing == ()
    for stage in ("flow", "describe", "fit", "encode", "train"):
        assert nodes[stage].digest == before[stage].digest
    assert nodes["evaluate"].clips == NEW


def test_a_model_of_another_stage_version_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = tuple(
        replace(stage, version=stage.version + 1) if stage.name == "describe" else stage
        for stage in planning.STAGES
    )
    monkeypatch.setattr(planning, "STAGES", raised)
    found = read_model(model)
    with pytest.raises(InputError, match="stage fit learned from other values"):
        plan(found.recipe, tmp_path, NEW, Fold("new", (), ("new",)), found.learned)


def test_a_model_without_a_codebook_is_refused(model: Path, tmp_path: Path) -> None:
    with h5py.File(model, "a") as file:
        del file["fit/hog"]
    with pytest.raises(InputError, match="has no fit/hog: it is damaged"):
        unpack_model(read_model(model), tmp_path / "other")


def test_a_link_out_of_a_model_is_not_followed(model: Path, tmp_path: Path) -> None:
    with h5py.File(model, "a") as file:
        del file["fit/hog"]
        file["fit/hog"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/")
    with pytest.raises(InputError, match="has no fit/hog"):
        unpack_model(read_model(model), tmp_path / "other")


def test_a_product_of_a_stage_is_no_model(model: Path, tmp_path: Path) -> None:
    product = next((tmp_path / "store/train").rglob("*.h5"))
    with pytest.raises(InputError, match="a product of one stage, not a model"):
        read_model(product)


def test_videos_are_found_in_folders_and_by_name(tmp_path: Path) -> None:
    for name in ("in/deep/a.avi", "in/b.mp4", "c.avi"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    clips = find_clips([tmp_path / "in", tmp_path / "c.avi"])
    assert [(clip.id, clip.label) for clip in clips] == [("b", ""), ("deep/a", ""), ("c", "")]
    with pytest.raises(InputError, match="would both be clip 'c'"):
        find_clips([tmp_path / "c.avi", tmp_path / "c.avi"])
    with pytest.raises(InputError, match=r"nowhere\.avi does not exist"):
        find_clips([tmp_path / "nowhere.avi"])


def test_predictions_are_written_with_every_score() -> None:
    names = (np.array(["a", "b"]), np.array(["walk", "run"]), np.array(["run", "walk"]))
    found = Predictions(*names, np.array([[0.1, 0.25], [1.0, -3.0]]), {})
    text = "clip,predicted,run,walk\na,walk,0.1,0.25\nb,run,1.0,-3.0\n"
    assert predictions_csv(found) == text
    assert found.to_dict()["predictions"][1]["scores"] == {"run": 1.0, "walk": -3.0}
