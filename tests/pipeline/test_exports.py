"""Exports: the codes of flow images, and folders that hold one export alone."""

import os
from pathlib import Path

import numpy as np
import pytest

from cinefeat.extractors import dequantise_flow, encode_tsn
from cinefeat.pipeline.errors import ClipError, InputError
from cinefeat.pipeline.exports import (
    FlowExport,
    claim_folder,
    export_flow,
    image_codes,
    is_written,
)
from cinefeat.pipeline.flow_files import FlowLayout
from cinefeat.pipeline.store import ProductWriter

EVERY_CODE = np.arange(256, dtype=np.uint8).repeat(2).reshape(1, 16, 16, 2)


def _product(path: Path, flow: np.ndarray, zero: float = 128, bound: float = 20) -> Path:
    with ProductWriter(path, {}) as product:
        product.append("flow", flow)
        product.set_attrs({"zero": zero, "bound": bound}, "flow")
    return path


def _codes(path: Path, bound: float = 20) -> np.ndarray:
    return np.stack(list(image_codes(path, "flow", bound)))


def test_our_codes_become_a_nearest_code_of_the_images(tmp_path: Path) -> None:
    exact = dequantise_flow(EVERY_CODE).astype(np.float64) * 127.5 / 20 + 127.5
    difference = _codes(_product(tmp_path / "a.h5", EVERY_CODE)) - exact
    assert np.abs(difference).max() <= 0.5 + 1e-5


def test_our_codes_stay_apart_but_for_the_last(tmp_path: Path) -> None:
    codes = _codes(_product(tmp_path / "a.h5", EVERY_CODE))[0, ..., 0].ravel()
    assert codes[128] == 128
    assert (np.diff(codes[1:].astype(int)) > 0).all()
    assert codes[0] == codes[1] == 0


def test_mirrored_motion_has_mirrored_codes(tmp_path: Path) -> None:
    mirrored = (256 - EVERY_CODE.astype(int)).clip(1, 255).astype(np.uint8)
    codes = _codes(_product(tmp_path / "a.h5", EVERY_CODE))
    turned = _codes(_product(tmp_path / "b.h5", mirrored))
    moves = (EVERY_CODE != 128) & (EVERY_CODE > 0)
    np.testing.assert_array_equal(turned[moves], 255 - codes[moves])


def test_imported_codes_pass_as_they_are(tmp_path: Path) -> None:
    path = _product(tmp_path / "a.h5", EVERY_CODE, zero=127.5)
    np.testing.assert_array_equal(_codes(path), EVERY_CODE)


@pytest.mark.parametrize("zero", [128, 127.5])
def test_another_bound_encodes_anew(tmp_path: Path, zero: float) -> None:
    codes = _codes(_product(tmp_path / "a.h5", EVERY_CODE, zero=zero), bound=10)
    assert codes[0, 4, 0, 0] == 0  # code 64, about -10 px
    assert codes[0, 8, 0, 0] == 128
    assert codes[0, 12, 4, 0] == 255  # code 196, beyond 10 px


def test_floats_are_encoded_as_dense_flow_does(tmp_path: Path, rng: np.random.Generator) -> None:
    flow = rng.normal(0, 8, (2, 16, 16, 2)).astype(np.float16)
    path = _product(tmp_path / "a.h5", flow)
    np.testing.assert_array_equal(_codes(path), encode_tsn(flow.astype(np.float32)))


def test_a_folder_holds_one_export(tmp_path: Path) -> None:
    claim_folder(tmp_path / "out", {"digest": "a", "bound": 20.0})
    claim_folder(tmp_path / "out", {"digest": "a", "bound": 20.0})
    with pytest.raises(InputError, match="another recipe or with other options"):
        claim_folder(tmp_path / "out", {"digest": "a", "bound": 15.0})


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(InputError, match="holds something else"):
        claim_folder(tmp_path, {"digest": "a"})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_files_older_than_their_product_are_written_again(tmp_path: Path) -> None:
    product = _product(tmp_path / "a.h5", EVERY_CODE)
    assert not is_written(tmp_path / "a", product)
    export_flow(FlowExport(product, tmp_path / "a", "flow", 20, FlowLayout("png")))
    assert is_written(tmp_path / "a", product)
    later = (tmp_path / "a").stat().st_mtime_ns + 1
    os.utime(product, ns=(later, later))
    assert not is_written(tmp_path / "a", product)


def test_a_damaged_product_is_that_clips_failure(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"damaged")
    export = FlowExport(tmp_path / "a.h5", tmp_path / "a", "flow", 20, FlowLayout("png"))
    with pytest.raises(ClipError, match="not a readable HDF5 file"):
        export_flow(export)
    assert not (tmp_path / "a").exists()
