"""Files of other programs: out of a store and into another, through the command line."""

import gzip
import shutil
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from synthetic import moving_square, write_video

from cinefeat.extractors import decode_tsn
from cinefeat.pipeline.cli import main
from cinefeat.pipeline.flow_files import FlowLayout, open_flow_folder, write_flow_folder
from cinefeat.pipeline.stages.flow import read_fields

pytestmark = pytest.mark.xdist_group("end_to_end")

COMPUTED = """
name = "computed"
title = "Flow of our own"
source = "test"
[flow]
preset = "fast"
warped = true
"""
IMPORTED = """
name = "imported"
title = "Flow of another program"
source = "test"
[flow]
method = "imported"
name = "test"
"""
CLIPS = ("wave/a", "wave/b")
N_FRAMES, HEIGHT, WIDTH = 6, 48, 64
HALF_STEP = 20 / 255  # pixels


def cinefeat(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips, recipes, and a store with their computed flow."""
    folder = tmp_path_factory.mktemp("interchange")
    for i, clip in enumerate(CLIPS):
        frames, _ = moving_square(N_FRAMES, HEIGHT, WIDTH, velocity=(2 - 3 * i, 1), seed=i)
        write_video(folder / f"videos/{clip}.avi", frames)
    (folder / "computed.toml").write_text(COMPUTED)
    (folder / "imported.toml").write_text(IMPORTED)
    done = cinefeat("stage", "flow", folder / "computed.toml", "--videos", folder / "videos",
                    "--store", folder / "store", "--jobs", 1)  # fmt: skip
    assert done == 0
    return folder


def export(work: Path, name: str, *options: object) -> Path:
    if not (work / name).exists():
        assert cinefeat("export-flow", work / "computed.toml", "--store", work / "store",
                        "-o", work / name, "--jobs", 1, *options) == 0  # fmt: skip
    return work / name


def bring_in(work: Path, source: Path, store: str, *options: object, changes: str = "") -> int:
    (work / f"{store}.toml").write_text(IMPORTED + changes)
    return cinefeat("import-flow", source, work / f"{store}.toml", "--jobs", 1,
                    "--manifest", work / "store/manifest.csv", "--store", work / store, *options)  # fmt: skip


def product(store: Path, clip: str) -> Path:
    (path,) = store.glob(f"flow/*/{clip}.h5")
    return path


def fields(store: Path, clip: str, name: str = "flow") -> np.ndarray:
    return np.stack(list(read_fields(product(store, clip), name)))


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize(
    "kind, mean, largest",
    [("flo", 0, 0), ("png", HALF_STEP, HALF_STEP), ("jpg", 2 * HALF_STEP, 32 * HALF_STEP)],
)
def test_flow_comes_back_from_each_format(
    work: Path, clip: str, kind: str, mean: float, largest: float
) -> None:
    source = export(work, f"as_{kind}", "--format", kind)
    changes = 'storage = "uint8"\n' if kind == "flo" else ""
    assert bring_in(work, source, f"from_{kind}", changes=changes) == 0
    before, after = fields(work / "store", clip), fields(work / f"from_{kind}", clip)
    error = np.abs(after - before)
    assert error.mean() <= mean + 1e-5
    assert error.max() <= largest + 1e-5
    assert np.abs(before).max() > 0.9


@pytest.mark.parametrize("clip", CLIPS)
def test_codes_of_images_are_kept_and_say_where_zero_is(work: Path, clip: str) -> None:
    source = export(work, "as_png", "--format", "png")
    bring_in(work, source, "from_png")
    folder = open_flow_folder(source / clip)
    with h5py.File(product(work / "from_png", clip)) as file:
        codes, attrs = file["flow"][:], dict(file["flow"].attrs)
    assert (attrs["zero"], attrs["bound"]) == (127.5, 20.0)
    np.testing.assert_array_equal(codes, [folder.read(i) for i in range(N_FRAMES - 1)])
    np.testing.assert_array_equal(decode_tsn(codes), fields(work / "from_png", clip))


def test_an_imported_product_has_what_a_computed_one_has(work: Path) -> None:
    bring_in(work, export(work, "as_png", "--format", "png"), "from_png")
    paths = (product(work / store, CLIPS[0]) for store in ("store", "from_png"))
    computed, imported = (h5py.File(path) for path in paths)
    with computed, imported:
        assert set(imported.attrs) == set(computed.attrs)
        assert imported.attrs["source_sha256"] == computed.attrs["source_sha256"]
        assert imported.attrs["frames_decoded"] == N_FRAMES
        for name in ("frame", "seconds"):
            np.testing.assert_array_equal(imported[name][:], computed[name][:])
    assert cinefeat("verify", "--store", work / "from_png") == 0


def test_imported_codes_are_exported_as_they_came(work: Path) -> None:
    source = export(work, "as_png", "--format", "png")
    bring_in(work, source, "from_png")
    done = cinefeat("export-flow", work / "from_png.toml", "--store", work / "from_png",
                    "--manifest", work / "store/manifest.csv", "-o", work / "again", "--format", "png")  # fmt: skip
    assert done == 0
    for path in source.rglob("*.png"):
        assert (work / "again" / path.relative_to(source)).read_bytes() == path.read_bytes()


def test_warped_flow_goes_out_and_in_beside_the_flow(work: Path) -> None:
    flow = export(work, "as_flo", "--format", "flo")
    warped = export(work, "warped_flo", "--format", "flo", "--which", "warped_flow")
    changes = 'warped = true\nstorage = "uint8"\n'
    assert bring_in(work, flow, "both", "--warped", warped, changes=changes) == 0
    for name in ("flow", "warped_flow"):
        np.testing.assert_allclose(
            fields(work / "both", CLIPS[0], name), fields(work / "store", CLIPS[0], name), atol=1e-5
        )


def test_a_second_export_writes_nothing_and_another_one_goes_elsewhere(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = export(work, "as_png", "--format", "png")
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*")}
    same = ("export-flow", work / "computed.toml", "--store", work / "store", "-o", source)
    assert cinefeat(*same, "--format", "png") == 0
    assert {path: path.stat().st_mtime_ns for path in source.rglob("*")} == before
    assert cinefeat(*same, "--format", "png", "--bound", 15) == 2
    assert "another recipe or with other options" in capsys.readouterr().err
    assert cinefeat(*same[:-1], work / "videos") == 2
    assert "holds something else" in capsys.readouterr().err


def test_a_clip_that_was_lost_is_written_again(work: Path) -> None:
    source = export(work, "as_png", "--format", "png")
    shutil.copytree(source, work / "lost")
    shutil.rmtree(work / "lost" / CLIPS[1])
    cinefeat("export-flow", work / "computed.toml", "--store", work / "store",
             "-o", work / "lost", "--format", "png", "--jobs", 1)  # fmt: skip
    names = {path.relative_to(work / "lost") for path in (work / "lost").rglob("*")}
    assert names == {path.relative_to(source) for path in source.rglob("*")}


def test_a_clip_without_files_costs_that_clip_and_can_follow(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = export(work, "as_png", "--format", "png")
    shutil.copytree(source, work / "half")
    shutil.rmtree(work / "half" / CLIPS[1])
    (work / "half" / CLIPS[0] / "flow_x_00005.png").unlink()
    (work / "half" / CLIPS[0] / "flow_y_00005.png").unlink()
    assert bring_in(work, work / "half", "halved") == 1
    ledger = (work / "halved/failures.csv").read_text()
    assert "has 4 fields; the video has 6 frames" in ledger
    assert "no files such as flow_x_00001.jpg" in ledger
    assert bring_in(work, source, "halved") == 0
    assert "2 clips imported" in capsys.readouterr().out


def test_the_flow_stage_of_a_clip_that_was_not_imported_names_the_command(work: Path) -> None:
    done = cinefeat("stage", "flow", work / "imported.toml", "--videos", work / "videos",
                    "--store", work / "none", "--jobs", 1)  # fmt: skip
    assert done == 1
    assert "cinefeat import-flow DIR RECIPE" in (work / "none/failures.csv").read_text()


def test_a_clip_whose_files_would_lie_among_anothers_is_refused(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (work / "store/manifest.csv").read_text().replace("\nwave/b,", "\nwave,")
    (work / "store/nested.csv").write_text(rows)
    done = cinefeat("export-flow", work / "computed.toml", "--store", work / "store",
                    "--manifest", work / "store/nested.csv", "-o", work / "nested")  # fmt: skip
    assert done == 2
    assert "files of clip 'wave/a' would lie among those of another" in capsys.readouterr().err


def test_flow_of_another_size_is_taken_but_not_for_trajectories(work: Path) -> None:
    still = np.zeros((N_FRAMES - 1, HEIGHT // 2, WIDTH // 2, 2), np.float32)
    for clip in CLIPS:
        write_flow_folder(work / "small" / clip, still, FlowLayout("flo"))
    changes = '[describe]\nextractor = "dense-trajectories"\n'
    assert bring_in(work, work / "small", "from_small", changes=changes) == 0
    assert fields(work / "from_small", CLIPS[0]).shape == still.shape
    done = cinefeat("stage", "describe", work / "from_small.toml", "--store", work / "from_small",
                    "--manifest", work / "store/manifest.csv", "--jobs", 1)  # fmt: skip
    assert done == 1
    ledger = (work / "from_small/failures.csv").read_text()
    assert "the stored flow is of 32x24, the frames of 64x48" in ledger


def test_a_step_that_half_precision_cannot_hold_costs_the_clip(work: Path) -> None:
    wild = np.full((N_FRAMES - 1, HEIGHT, WIDTH, 2), 7e4, np.float32)
    for clip, flow in zip(CLIPS, (wild, wild / 2), strict=True):
        write_flow_folder(work / "wild" / clip, flow, FlowLayout("flo"))
    assert bring_in(work, work / "wild", "from_wild") == 1
    assert "steps above 65504 pixels" in (work / "from_wild/failures.csv").read_text()
    assert fields(work / "from_wild", CLIPS[1]).max() == 35008  # the nearest float16


def test_a_clip_whose_flow_failed_is_told_when_exporting(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(work / "store", work / "one_only")
    product(work / "one_only", CLIPS[0]).unlink()
    done = cinefeat("export-flow", work / "computed.toml", "--store", work / "one_only",
                    "--manifest", work / "store/manifest.csv", "-o", work / "one_out", "--jobs", 1)  # fmt: skip
    assert done == 1
    assert "wave/a: stage flow has not been run for it" in capsys.readouterr().err
    assert not (work / "one_out" / CLIPS[0]).exists()
    assert (work / "one_out" / CLIPS[1]).is_dir()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["export-flow", "computed.toml", "--format", "flo", "--bound", "9"], "--bound goes with"),
        (["export-flow", "computed.toml", "--format", "png", "--quality", "9"], "--quality goes"),
        (["export-flow", "plain.toml", "--which", "warped_flow"], "stores no warped_flow"),
        (["export-flow", "cuboids-bow"], "has no stage 'flow'"),
        (["export-flow", "plain.toml"], "stage flow has no products yet"),
        (["import-flow", "videos", "computed.toml"], "does not import its flow"),
        (["import-flow", "videos", "imported.toml", "--warped", "videos"], "--warped DIR goes"),
        (["import-flow", "as_jpg", "other_bound.toml"], "was written with bound 20.0"),
        (["import-flow", "nowhere", "imported.toml"], "nowhere is not a folder"),
    ],
)
def test_bad_requests_exit_with_2_and_one_sentence(
    work: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    sentence: str,
) -> None:
    export(work, "as_jpg", "--format", "jpg")
    monkeypatch.chdir(work)
    Path("plain.toml").write_text(COMPUTED.replace("true", "false"))
    Path("other_bound.toml").write_text(IMPORTED + "bound = 15.0\n")
    output = ["-o", "unused"] if arguments[0].startswith("export") else []
    assert cinefeat(*arguments, "--store", "store", *output) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("unused").exists()


IDT = """
name = "authors"
title = "Trajectories of the authors' program"
source = "test"
[describe]
extractor = "imported-idt"
name = "DT, as released"
"""


@pytest.fixture(scope="module")
def boxing(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """The authors' clip with their own output, imported with each precision."""
    folder = tmp_path_factory.mktemp("boxing")
    reference = shared / "reference/idt"
    for place in ("videos/box", "text/box"):
        (folder / place).mkdir(parents=True)
    shutil.copy(reference / "person01_boxing_d1_uncomp.avi", folder / "videos/box/d1.avi")
    text = reference / "person01_boxing_d1.authors_dt.txt.gz"
    shutil.copy(text, folder / "text/box/d1.txt.gz")
    for precision in ("float16", "float32"):
        (folder / f"{precision}.toml").write_text(f'{IDT}storage = "{precision}"\n')
        assert cinefeat("import-idt", folder / "text", folder / f"{precision}.toml", "--jobs", 1,
                        "--videos", folder / "videos", "--store", folder / precision) == 0  # fmt: skip
    return folder


def exported_text(boxing: Path, precision: str, *options: object) -> Path:
    output = boxing / f"{precision}_text{len(options)}"
    assert cinefeat("export-idt", boxing / f"{precision}.toml", "--store", boxing / precision,
                    "-o", output, "--jobs", 1, *options) == 0  # fmt: skip
    return output / ("box/d1.txt.gz" if options else "box/d1.txt")


def test_the_authors_trajectories_become_a_product_of_the_describe_stage(boxing: Path) -> None:
    (path,) = (boxing / "float16").glob("describe/*/box/d1.h5")
    with h5py.File(path) as file:
        kinds = {name: (len(array), str(array.dtype)) for name, array in file.items()}
        elapsed = file["end_seconds"][:] - file["start_seconds"][:]
        np.testing.assert_array_equal(file["positions"][:], file["info"][:, 7:10])
        np.testing.assert_array_equal(file["end_frame"][:], file["info"][:, 0])
    half = dict.fromkeys(["trajectory", "hog", "hof", "mbhx", "mbhy"], (2092, "float16"))
    single = dict.fromkeys(["info", "positions"], (2092, "float32"))
    frames = dict.fromkeys(["start_frame", "end_frame"], (2092, "int32"))
    seconds = dict.fromkeys(["start_seconds", "end_seconds"], (2092, "float64"))
    assert kinds == half | single | frames | seconds
    np.testing.assert_allclose(elapsed, 15 / 25, atol=1e-6)


def test_single_precision_gives_the_authors_text_back(boxing: Path) -> None:
    text = gzip.decompress(exported_text(boxing, "float32", "--gzip").read_bytes())
    assert text == gzip.decompress((boxing / "text/box/d1.txt.gz").read_bytes())


def test_half_precision_costs_no_more_than_its_rounding(boxing: Path) -> None:
    found = np.loadtxt(exported_text(boxing, "float16"))
    expected = np.loadtxt(boxing / "text/box/d1.txt.gz")
    np.testing.assert_array_equal(found[:, :10], expected[:, :10])
    np.testing.assert_allclose(found[:, 10:], expected[:, 10:], rtol=2**-11, atol=1e-6)


@pytest.mark.parametrize(
    "first, reason",
    [("15", ""), ("360", "ends at frame 360; the video has frames 0 to 359"), ("14", "frame 14"),
     ("15.5", "frame 15.5"), (None, "there is neither")],
)  # fmt: skip
def test_text_that_is_not_of_the_video_costs_that_clip(
    boxing: Path, tmp_path: Path, first: str | None, reason: str
) -> None:
    if first is not None:
        (tmp_path / "text/box").mkdir(parents=True)
        (tmp_path / "text/box/d1.txt").write_text(first + "\t0.5" * 435 + "\n")
    (tmp_path / "text").mkdir(exist_ok=True)
    done = cinefeat("import-idt", tmp_path / "text", boxing / "float16.toml", "--jobs", 1,
                    "--videos", boxing / "videos", "--store", tmp_path / "store")  # fmt: skip
    assert done == bool(reason)
    assert reason in (tmp_path / "store/failures.csv").read_text()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["export-idt", "stip-bow", "-o", "unused"], "by other means than trajectories"),
        (["export-idt", "computed.toml", "-o", "unused"], "has no stage 'describe'"),
        (["import-idt", "videos", "computed.toml"], "does not import its trajectories"),
    ],
)
def test_bad_requests_for_trajectories_exit_with_2(
    work: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(work)
    assert cinefeat(*arguments, "--store", "store") == 2
    assert sentence in capsys.readouterr().err


FEATURES = """
name = "theirs"
title = "Features of another program"
source = "test"
[embed]
method = "imported"
name = "test"
group = "net"
"""


def bring_features(work: Path, folder: Path, rows: str) -> int:
    (folder / "theirs.toml").write_text(FEATURES + rows)
    return cinefeat("import-features", folder, folder / "theirs.toml", "--jobs", 1,
                    "--manifest", work / "store/manifest.csv", "--store", folder / "store")  # fmt: skip


def features_of(folder: Path, clip: str) -> dict[str, list]:
    (path,) = folder.glob(f"store/embed/*/{clip}.h5")
    with h5py.File(path) as file:
        assert file.attrs["frames_decoded"] == N_FRAMES
        return {name: array[:].tolist() for name, array in file["net"].items()}


def blob(*values: float) -> bytes:
    """A window's output of a layer as C3D's program writes it."""
    return struct.pack(f"<5i{len(values)}f", 1, len(values), 1, 1, 1, *values)


def test_arrays_of_video_features_become_products_of_the_embed_stage(
    work: Path, tmp_path: Path
) -> None:
    (tmp_path / "wave").mkdir()
    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    for i, clip in enumerate(CLIPS):
        np.save(tmp_path / f"{clip}_rgb.npy", array + i)
    assert bring_features(work, tmp_path, 'files = "{clip}_rgb.npy"\n') == 0
    found = features_of(tmp_path, CLIPS[1])
    assert found["features"] == (array + 1).tolist()
    assert (found["start_frame"], found["end_frame"]) == ([0, 2, 4], [1, 3, 5])
    np.testing.assert_allclose(found["end_seconds"], np.array([1, 3, 5]) / 25)
    assert cinefeat("verify", "--store", tmp_path / "store") == 0


def test_blobs_of_c3d_begin_at_the_frames_that_they_are_named_after(
    work: Path, tmp_path: Path
) -> None:
    for clip in CLIPS:
        (tmp_path / clip).mkdir(parents=True)
        for k in (2, 0):
            (tmp_path / clip / f"{k:06}.fc6-1").write_bytes(blob(k, -1.5))
        (tmp_path / clip / "000000.prob").write_bytes(blob(9))
    assert bring_features(work, tmp_path, 'files = "{clip}/*.fc6-1"\nwindow = 3\n') == 0
    found = features_of(tmp_path, CLIPS[0])
    assert found["features"] == [[0, -1.5], [2, -1.5]]
    assert (found["start_frame"], found["end_frame"]) == ([0, 2], [2, 4])


def test_features_that_are_not_of_the_video_cost_that_clip(work: Path, tmp_path: Path) -> None:
    (tmp_path / "wave").mkdir()
    for n_rows, clip in zip((3, 4), CLIPS, strict=True):
        np.save(tmp_path / f"{clip}.npy", np.zeros((n_rows, 1)))
    assert bring_features(work, tmp_path, "stride = 2\n") == 1
    ledger = (tmp_path / "store/failures.csv").read_text()
    assert "wave/b.npy: a row begins at frame 6; the video has frames 0 to 5" in ledger
    assert CLIPS[0] not in ledger.replace("wave/b.npy", "")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ('files = "{clip}.pkl"\n', "is a pickle, which can run any code"),
        ('files = "all.npy"\n', "embed.files = 'all.npy'"),
        ('files = "/other/{clip}.npy"\n', "embed.files = '/other"),
        ("wnidow = 3\n", "unknown key 'embed.wnidow'; known keys are files, group, method"),
    ],
)
def test_a_recipe_that_cannot_import_features_exits_with_2(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: str, sentence: str
) -> None:
    assert bring_features(work, tmp_path, rows) == 2
    assert sentence in capsys.readouterr().err
    (tmp_path / "computed.toml").write_text(COMPUTED)
    done = cinefeat("import-features", tmp_path, tmp_path / "computed.toml",
                    "--manifest", work / "store/manifest.csv", "--store", tmp_path / "store")  # fmt: skip
    assert done == 2
    assert "does not import its features" in capsys.readouterr().err
