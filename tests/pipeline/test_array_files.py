"""Products as files of numpy."""

import json
from pathlib import Path

import numpy as np
import pytest

from cinefeat.pipeline.array_files import export_product
from cinefeat.pipeline.store import write_product

ARRAYS = {
    "net/features": np.arange(6, dtype=np.float16).reshape(2, 3),
    "label": np.array(["a", "bé"]),
}


@pytest.fixture
def product(tmp_path: Path) -> Path:
    write_product(tmp_path / "clip.h5", ARRAYS, {"stage": "embed", "n": 3})
    return tmp_path / "clip.h5"


def test_one_file_holds_all_arrays_and_what_made_them(product: Path) -> None:
    target = product.parent / "deep/clip.npz"
    export_product(product, target)
    with np.load(target, allow_pickle=False) as found:
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(found[name], array)
        assert found["net/features"].dtype == np.float16
        assert json.loads(str(found["attributes"]))["n"] == 3


def test_a_folder_holds_a_file_per_array_and_is_replaced_whole(product: Path) -> None:
    target = product.parent / "deep/clip"
    target.mkdir(parents=True)
    (target / "old.npy").write_bytes(b"old")
    export_product(product, target)
    found = sorted(str(p.relative_to(target)) for p in target.rglob("*") if p.is_file())
    assert found == ["attributes.json", "label.npy", "net/features.npy"]
    array = np.load(target / "net/features.npy", allow_pickle=False)
    np.testing.assert_array_equal(array, ARRAYS["net/features"])
    assert [path.name for path in target.parent.iterdir()] == ["clip"]
