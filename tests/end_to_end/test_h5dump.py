"""Every kind of HDF5 file that is written is read by h5dump, a program that knows nothing of us."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from synthetic import motion_only_videos

from cinefeat import pipeline
from cinefeat.pipeline.cli import _status
from cinefeat.pipeline.stages import STAGES

RECIPE = """
name = "every-stage"
title = "All stages, as small as they can be"
source = "test"
[flow]
preset = "fast"
warped = true
[describe]
extractor = "dense-trajectories"
[embed]
method = "imported"
name = "test"
group = "net"
[fit]
codebook = "k-means"
channels = ["hof"]
n_words = 10
n_samples = 2000
[encode]
method = "bag-of-words"
[pool]
[train]
classifier = "linear-svm"
[network]
model = "attention"
streams = [{name = "both", inputs = ["net/features"]}]
steps = 2
width = 0.1
n_epochs = 1
"""
STAGE_NAMES = [stage.name for stage in STAGES]
# module -> the kinds of files that it writes; one that is not here has no test yet
WRITERS = {
    "store": [],  # what the others write with
    "run": STAGE_NAMES,
    "models": ["model"],
    "packing": ["packed bags", "packed vectors"],
}

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("end_to_end")]


def cinefeat(*arguments: object) -> None:
    assert _status([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of every kind, by its kind."""
    work = tmp_path_factory.mktemp("h5dump")
    motion_only_videos(work / "videos", n_groups=2)
    (work / "all.toml").write_text(RECIPE, encoding="utf-8")
    place = ("--store", work / "store", "--jobs", 1)
    videos = (work / "all.toml", "--videos", work / "videos", *place)
    for i, video in enumerate(sorted((work / "videos").rglob("*.avi"))):
        array = work / "arrays" / video.relative_to(work / "videos").with_suffix(".npy")
        array.parent.mkdir(parents=True, exist_ok=True)
        np.save(array, np.random.default_rng(i).normal(size=(2, 8)))
    cinefeat("stage", "flow", *videos)
    cinefeat("import-features", work / "arrays", *videos)
    cinefeat("run", *videos, "--protocol", "k-fold:2")
    cinefeat(
        "export-model",
        *videos,
        "--protocol",
        "k-fold:2",
        "--fold",
        "fold-1",
        "-o",
        work / "model.h5",
    )
    for stage, kind in (("describe", "bags"), ("pool", "vectors")):
        cinefeat("pack", stage, work / "all.toml", "--store", work / "store",
                 "--protocol", "k-fold:2", "-o", work / f"{kind}.h5")  # fmt: skip
    found = {path.name: next(path.rglob("*.h5")) for path in (work / "store").iterdir()
             if path.name in STAGE_NAMES}  # fmt: skip
    return found | {"model": work / "model.h5", "packed bags": work / "bags.h5",
                    "packed vectors": work / "vectors.h5"}  # fmt: skip


def test_every_module_that_writes_hdf5_has_a_case() -> None:
    folder = Path(pipeline.__file__).parent
    pattern = re.compile(r'(?<!class )\b(ProductWriter\(|write_product\(|File\([^)]*"[wax+]+")')
    found = {
        path.stem
        for path in folder.rglob("*.py")
        if pattern.search(path.read_text(encoding="utf-8"))
    }
    assert found == set(WRITERS)


@pytest.mark.parametrize("kind", [kind for kinds in WRITERS.values() for kind in kinds])
def test_h5dump_reads(files: dict[str, Path], kind: str) -> None:
    program = shutil.which("h5dump")
    if program is None:
        reason = "no h5dump: install Debian's hdf5-tools"
        if os.environ.get("CINEFEAT_REQUIRE_H5DUMP") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run(
        [program, str(files[kind])], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "unable to" not in done.stdout
    assert re.search(r"DATASET .*DATA \{\s+\(0", done.stdout, re.DOTALL)
