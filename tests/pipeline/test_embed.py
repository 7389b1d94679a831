"""Windows of a stream, pooled features, and what a recipe says of its networks."""

import os
from pathlib import Path

import numpy as np
import pytest

from cinefeat.extractors import window_indices
from cinefeat.pipeline.errors import ClipError, InputError
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.plan import weight_digests
from cinefeat.pipeline.recipe import load_recipe
from cinefeat.pipeline.settings import EmbedSettings, NetworkSettings, PoolSettings
from cinefeat.pipeline.stages import Job, pool
from cinefeat.pipeline.stages.embed import select_windows
from cinefeat.pipeline.store import ProductWriter, read_arrays, write_product


def _steps(n: int):  # type: ignore[no-untyped-def]
    return ((np.array([i]), i, i / 25) for i in range(n))


@pytest.mark.parametrize("policy", ["repeat_last", "wrap"])
@pytest.mark.parametrize(
    "n_steps, length, starts",
    [(20, 4, [0, 4, 8]), (20, 8, [0, 2, 2, 12]), (5, 8, [0, 0]), (3, 1, [2])],
)
def test_windows_of_a_stream_are_those_of_the_whole_video(
    n_steps: int, length: int, starts: list[int], policy: str
) -> None:
    windows = list(select_windows(_steps(n_steps), starts, n_steps, length, policy))
    found = [[index for _, index, _ in window] for window in windows]
    expected = [window_indices(start, n_steps, length, policy).tolist() for start in starts]
    assert found == expected


def test_a_video_that_ends_before_its_count_is_a_clips_failure() -> None:
    with pytest.raises(ClipError, match="ended early: 20 frames were counted"):
        list(select_windows(_steps(10), [0, 12], 20, 8, "repeat_last"))


@pytest.mark.parametrize(
    "pooling, expected", [("mean", [2.0, 1.0]), ("max", [3.0, 2.0]), ("segments", [2.0, 1.0])]
)
def test_features_are_pooled_over_time(tmp_path: Path, pooling: str, expected: list) -> None:
    rows = np.array([[1.0, 0.0], [3.0, 2.0]], np.float32)
    write_product(
        tmp_path / "embed/c.h5", {"net/features": rows, "net/start_frame": rows[:, 0]}, {}
    )
    settings = PoolSettings(pooling=pooling, n_segments=2, l2_norm=False)  # type: ignore[arg-type]
    clip = Clip("c", Path("c.avi"), "x")
    target = tmp_path / "pool/c.h5"
    job = Job("pool", target, settings, (clip,), {"embed": tmp_path / "embed"}, {}, "c")
    with ProductWriter(target, {}) as product:
        pool.run(job, product)
    found = read_arrays(target)
    assert list(found) == ["net"]
    np.testing.assert_allclose(found["net"], expected)


@pytest.mark.parametrize("name", ["c3d-svm", "c3d-3nets-idt-svm", "two-stream-svm", "tsn-rgb-flow"])
def test_missing_weights_are_named_with_how_to_get_them(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.embed is not None
    with pytest.raises(InputError, match=r"no weight file .*; they come from .*convert"):
        weight_digests(recipe.embed.weight_files)


def test_other_weights_are_another_identity(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    table = EmbedSettings(networks=(NetworkSettings(network="c3d", weights=str(file)),))
    file.write_bytes(b"one")
    first = weight_digests(table.weight_files)
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert weight_digests(table.weight_files) != first


def test_one_network_twice_needs_names() -> None:
    entry = NetworkSettings(network="c3d", weights="a")
    with pytest.raises(ValueError, match="has 'c3d' twice"):
        EmbedSettings(networks=(entry, entry))
