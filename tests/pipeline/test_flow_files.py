"""Flow as files: known bytes, layouts, whole folders or none, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from cinefeat.extractors import decode_tsn, encode_tsn
from cinefeat.pipeline.errors import ClipError
from cinefeat.pipeline.flow_files import (
    FlowLayout,
    decode_flo,
    decode_image,
    encode_flo,
    encode_image,
    open_flow_folder,
    write_flow_folder,
)

# float32 202021.25, then W = 2 and H = 1, then x and y of both pixels
KNOWN_FLO = bytes.fromhex(
    "50494548 02000000 01000000 0000803f 000000c0 00000000 0000003f".replace(" ", "")
)
KNOWN_FIELD = np.array([[[1.0, -2.0], [0.0, 0.5]]], np.float32)


@pytest.fixture
def codes(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (3, 20, 30, 2), np.uint8)


def _smooth_flow(n_fields: int = 3, height: int = 96, width: int = 128) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    fields = [
        np.stack([12 * np.sin(x / 20 + i), 7 * np.cos(y / 15 - i)], axis=-1)
        for i in range(n_fields)
    ]
    return np.stack(fields).astype(np.float32)


def _read_all(folder: Path) -> np.ndarray:
    found = open_flow_folder(folder)
    return np.stack([found.read(i) for i in range(found.n_fields)])


def test_a_flo_file_has_the_known_bytes() -> None:
    assert encode_flo(KNOWN_FIELD) == KNOWN_FLO
    np.testing.assert_array_equal(decode_flo(KNOWN_FLO), KNOWN_FIELD)


def test_a_middlebury_file_reads_as_its_numbers(shared: Path) -> None:
    data = (shared / "data/flow/RubberWhale/flow10.flo").read_bytes()
    with pytest.raises(ValueError, match="unknown pixels"):
        decode_flo(data)
    numbers = np.frombuffer(data, "<f4", offset=12).copy()
    numbers[np.abs(numbers) > 1e9] = 0
    known = data[:12] + numbers.tobytes()
    assert encode_flo(decode_flo(known)) == known


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "does not begin"),
        (b"PIEG" + KNOWN_FLO[4:], "does not begin"),
        (KNOWN_FLO[:-1], "has 27 bytes; 2x1 flow has 28"),
        (KNOWN_FLO + b"\0", "has 29 bytes"),
        (KNOWN_FLO[:-4] + np.float32(np.nan).tobytes(), "unknown pixels"),
        (KNOWN_FLO[:-4] + np.float32(1.67e9).tobytes(), "unknown pixels"),
        (b"PIEH" + bytes(8), "0x0 flow"),
    ],
)
def test_a_file_that_is_not_whole_flow_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_flo(data)


def test_floats_survive_flo_files_exactly(tmp_path: Path) -> None:
    flow = _smooth_flow()
    assert write_flow_folder(tmp_path / "clip", flow, FlowLayout("flo")) == 3
    np.testing.assert_array_equal(_read_all(tmp_path / "clip"), flow)


def test_codes_survive_png_files_exactly(tmp_path: Path, codes: np.ndarray) -> None:
    write_flow_folder(tmp_path / "clip", codes, FlowLayout("png"))
    np.testing.assert_array_equal(_read_all(tmp_path / "clip"), codes)


def test_flow_survives_jpeg_files_within_the_stated_error(tmp_path: Path) -> None:
    flow = _smooth_flow()
    write_flow_folder(tmp_path / "clip", encode_tsn(flow), FlowLayout("jpg"))
    error = np.abs(decode_tsn(_read_all(tmp_path / "clip")) - flow)
    step = 40 / 255  # pixels a code
    assert error.mean() < step / 2
    assert np.quantile(error, 0.999) < 1.5 * step


def test_no_motion_is_code_128_and_returns_as_zero_from_every_format(tmp_path: Path) -> None:
    still = encode_tsn(np.zeros((1, 16, 16, 2), np.float32))
    for kind in ("jpg", "png"):
        write_flow_folder(tmp_path / kind, still, FlowLayout(kind))
        read = _read_all(tmp_path / kind)
        assert (read == 128).all()
        assert (decode_tsn(read) == 0).all()


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize(
    "kind, names",
    [
        ("jpg", ["flow_x_{}.jpg", "flow_y_{}.jpg"]),
        ("png", ["flow_x_{}.png", "flow_y_{}.png"]),
        ("flo", ["flow_{}.flo"]),
    ],
)
def test_files_are_named_and_numbered_as_other_programs_expect(
    tmp_path: Path, start: int, kind: str, names: list[str]
) -> None:
    fields = _smooth_flow(2) if kind == "flo" else encode_tsn(_smooth_flow(2))
    write_flow_folder(tmp_path / "a/clip", fields, FlowLayout(kind, start_index=start))
    expected = {name.format(f"{start + i:05d}") for name in names for i in range(2)}
    assert {path.name for path in (tmp_path / "a/clip").iterdir()} == expected
    assert open_flow_folder(tmp_path / "a/clip").first == start


def test_the_x_image_holds_the_horizontal_component(tmp_path: Path) -> None:
    field = np.zeros((16, 24, 2), np.uint8)
    field[..., 0], field[..., 1] = 10, 200
    write_flow_folder(tmp_path / "clip", [field], FlowLayout("png"))
    assert (decode_image((tmp_path / "clip/flow_x_00001.png").read_bytes()) == 10).all()
    assert (decode_image((tmp_path / "clip/flow_y_00001.png").read_bytes()) == 200).all()


def test_higher_quality_makes_jpeg_more_exact(codes: np.ndarray) -> None:
    image = np.ascontiguousarray(codes[0, ..., 0])
    errors = [
        np.abs(decode_image(encode_image(image, FlowLayout("jpg", quality=q))).astype(int) - image)
        for q in (50, 100)
    ]
    assert errors[1].mean() < errors[0].mean()


def test_a_failure_leaves_neither_a_folder_nor_a_temporary(tmp_path: Path) -> None:
    def fields():  # type: ignore[no-untyped-def]
        yield np.zeros((16, 16, 2), np.uint8)
        raise ClipError("damaged")

    with pytest.raises(ClipError, match="damaged"):
        write_flow_folder(tmp_path / "clip", fields(), FlowLayout("png"))
    assert list(tmp_path.iterdir()) == []


def test_an_older_folder_is_replaced_whole(tmp_path: Path, codes: np.ndarray) -> None:
    write_flow_folder(tmp_path / "clip", codes, FlowLayout("png"))
    write_flow_folder(tmp_path / "clip", codes[:1], FlowLayout("png"))
    assert open_flow_folder(tmp_path / "clip").n_fields == 1
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]


def test_images_of_frames_beside_the_flow_are_passed_over(
    tmp_path: Path, codes: np.ndarray
) -> None:
    write_flow_folder(tmp_path / "clip", codes, FlowLayout("png"))
    (tmp_path / "clip/img_00001.jpg").write_bytes(b"")
    assert open_flow_folder(tmp_path / "clip").n_fields == 3


@pytest.mark.parametrize(
    "remove, add, reason",
    [
        ("flow_?_*.png", "", "no files such as flow_x_00001.jpg"),
        ("flow_y_00002.png", "", "has no flow_y_00002.png"),
        ("flow_?_00001.png", "", "has no flow_x_00001.png"),
        ("", "flow_00001.flo", "named in several ways"),
        ("", "flow_x_00004.png", "has no flow_y_00004.png"),
        ("", "flow_x_000004.png", "named in several ways"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(
    tmp_path: Path, codes: np.ndarray, remove: str, add: str, reason: str
) -> None:
    write_flow_folder(tmp_path / "clip", codes, FlowLayout("png"))
    for path in (tmp_path / "clip").glob(remove or "nothing"):
        path.unlink()
    if add:
        (tmp_path / "clip" / add).write_bytes(b"")
    with pytest.raises(ClipError, match=reason):
        open_flow_folder(tmp_path / "clip")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="no files such as"):
        open_flow_folder(tmp_path / "nothing")


@pytest.mark.parametrize(
    "image, reason",
    [
        (np.zeros((20, 30, 3), np.uint8), r"shape \(20, 30, 3\).*grey"),
        (np.zeros((20, 30), np.uint16), "uint16.*8 bits"),
        (np.zeros((20, 31), np.uint8), "x and y images of field 2 differ in size"),
        (None, "flow_y_00002.png is not an image"),
    ],
)
def test_an_image_that_is_not_a_component_of_flow_is_refused(
    tmp_path: Path, codes: np.ndarray, image: np.ndarray | None, reason: str
) -> None:
    write_flow_folder(tmp_path / "clip", codes, FlowLayout("png"))
    data = b"no" if image is None else encode_image(image, FlowLayout("png"))
    (tmp_path / "clip/flow_y_00002.png").write_bytes(data)
    with pytest.raises(ClipError, match=reason):
        _read_all(tmp_path / "clip")


def test_fields_of_different_sizes_are_refused(tmp_path: Path) -> None:
    write_flow_folder(tmp_path / "clip", _smooth_flow(2), FlowLayout("flo"))
    (tmp_path / "clip/flow_00002.flo").write_bytes(KNOWN_FLO)
    with pytest.raises(ClipError, match="field 2 is of 2x1, the first of 128x96"):
        _read_all(tmp_path / "clip")
