"""Manifests: what is read, what is refused and how, and that writing is all or nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.manifest import COLUMNS, Clip, check_id, read_manifest, write_manifest
from cinefeat.pipeline.plan import shard_of

PROBED = Clip(
    id="walk/daria 2é",
    path=Path("/videos/walk/daria 2é.avi"),
    label="walk, slowly",
    group="daria",
    split="ucf101:1=train ucf101:2=test",
    frames_declared=85,
    frames_decoded=84,
    fps=30000 / 1001,
    width=180,
    height=144,
    rotation=90,
    duration=2.8028,
    codec="FMP4",
    sha256="ab" * 32,
    bytes=123456,
    mtime_ns=1700000000123456789,
    status="short",
    reason='84 of 85 "frames"',
)


def _read(folder: Path, text: str | bytes) -> tuple[Clip, ...]:
    path = folder / "manifest.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_manifest(path)


def test_three_columns_are_enough_and_paths_start_at_the_manifest(tmp_path):
    (clip,) = _read(tmp_path, "clip,path,label\na,videos/a.avi,walk\n")
    assert clip == Clip(id="a", path=tmp_path / "videos/a.avi", label="walk")


def test_column_order_is_free(tmp_path):
    (clip,) = _read(tmp_path, "label,group,clip,path\nwalk,eli,a,/v/a.avi\n")
    assert (clip.id, clip.path, clip.label, clip.group) == ("a", Path("/v/a.avi"), "walk", "eli")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_byte_order_marks_line_endings_and_blank_lines_change_nothing(tmp_path, mark, ending):
    lines = ["clip, path, label ", "Läufer/ä b,Läufer/ä b.avi, gehen ", "", "c,c.avi,stehen", ""]
    first, second = _read(tmp_path, mark + ending.join(line.encode() for line in lines))
    assert (first.id, first.path, first.label) == (
        "Läufer/ä b",
        tmp_path / "Läufer/ä b.avi",
        "gehen",
    )
    assert (second.id, second.label) == ("c", "stehen")


def test_what_is_written_is_read_back(tmp_path):
    clips = (PROBED, Clip(id="b", path=tmp_path / "b\nb.avi", label="run"))
    write_manifest(tmp_path / "new" / "manifest.csv", clips)
    assert read_manifest(tmp_path / "new" / "manifest.csv") == clips


def test_a_folder_with_its_manifest_can_be_moved(tmp_path):
    folder = tmp_path / "old"
    write_manifest(folder / "m.csv", [Clip(id="a", path=folder / "x/a.avi", label="run")])
    folder.rename(tmp_path / "new")
    assert read_manifest(tmp_path / "new/m.csv")[0].path == tmp_path / "new/x/a.avi"


def test_an_unchanged_manifest_is_not_written_again(tmp_path):
    path = tmp_path / "m.csv"
    write_manifest(path, [PROBED])
    before = path.stat()
    write_manifest(path, [PROBED])
    assert path.stat() == before
    write_manifest(path, [replace(PROBED, label="run")])
    assert path.stat().st_ino != before.st_ino


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "m.csv"
    write_manifest(path, [PROBED])
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(InputError, match="No space left"):
        write_manifest(path, [replace(PROBED, label="run")])
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (before, [path])


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "line 1: column 'clip' is missing.*found nothing"),
        ("clip,path\n", "column 'label' is missing.*found clip, path"),
        ("clip,path,label,labels\n", "unknown column 'labels'.*known: clip, path, label, group"),
        ("clip,path,label,path\n", "column 'path' comes twice"),
        ("clip,path,label\n", "no row below its header"),
        ("clip,path,label\na,a.avi,walk\n\nb,b.avi\n", "line 4: the row has 2 fields .* 3"),
        ("clip,path,label\na,a.avi,walk\na,b.avi,run\n", "line 3: clip id 'a' comes twice"),
        ("clip,path,label\na,,walk\n", "line 2: path is ''"),
        ("clip,path,label\na,a.avi, \n", "line 2: label is ' '"),
        ("clip,path,label\na/../b,a.avi,walk\n", "line 2: clip id 'a/../b' must not"),
        ("clip,path,label,fps\na,a.avi,walk,fast\n", "line 2: fps is 'fast': it must be a number"),
        ("clip,path,label,fps\na,a.avi,walk,inf\n", "fps is 'inf'"),
        ("clip,path,label,width\na,a.avi,walk,-3\n", "width is '-3': it must be a whole number"),
        ("clip,path,label,status\na,a.avi,walk,fine\n", "one of ok, short, unreadable, or empty"),
        ('clip,path,label\na,"a.avi,walk\n', "line 2: .*check its quotes"),
        ("clip,path,label\na,ä.avi,walk\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_a_bad_manifest_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        _read(tmp_path, text)


def test_an_error_far_down_has_its_own_line(tmp_path):
    rows = [f"c{i},c{i}.avi,walk" for i in range(9000)]
    rows[8998] = "c17,again.avi,walk"
    with pytest.raises(InputError, match="line 9000: clip id 'c17' comes twice"):
        _read(tmp_path, "clip,path,label\n" + "\n".join(rows))


def _great_list(n: int) -> bytes:
    """Return a list of n clips as another system may save it: a mark, CRLF, spaces, unicode."""
    rows = [
        f"Läufer {i % 50}/日本 {i:06d},videos/{i:06d}.avi, gehen {i % 50} ,{i}" for i in range(n)
    ]
    return "\ufeffclip,path,label,frames_decoded\r\n".encode() + "\r\n".join(rows).encode()


def test_a_list_of_100_000_clips_is_read_and_every_clip_is_in_one_shard(tmp_path):
    n, n_shards = 100_000, 300
    clips = _read(tmp_path, _great_list(n))
    assert len(clips) == n
    for i in (0, 4095, 4096, n - 1):
        path = tmp_path / f"videos/{i:06d}.avi"
        expected = Clip(f"Läufer {i % 50}/日本 {i:06d}", path, f"gehen {i % 50}", frames_decoded=i)
        assert clips[i] == expected
    shards = [shard_of(clip.id, n_shards) for clip in clips]
    sizes = [shards.count(shard) for shard in range(n_shards)]
    assert sum(sizes) == n
    assert max(abs(size - n / n_shards) for size in sizes) < 6 * (n / n_shards) ** 0.5


@pytest.mark.parametrize(
    "n, row, message",
    [
        (
            100_000,
            "Läufer 7/日本 000007,a.avi,gehen,1",
            "clip id 'Läufer 7/日本 000007' comes twice",
        ),
        (5000, "Läufer 7/日本 000007,a.avi,gehen,1", "clip id 'Läufer 7/日本 000007' comes twice"),
        (5000, "../Läufer,a.avi,gehen,1", "clip id '../Läufer' must not have a part that starts"),
        (5000, "/Läufer,a.avi,gehen,1", "clip id '/Läufer' must be relative"),
        (5000, "Läufer,a.avi,gehen,٣", "frames_decoded is '٣': it must be a whole number"),
        (5000, "Läufer,a.avi,gehen,1 2", "frames_decoded is '1 2': it must be a whole number"),
    ],
)
def test_the_last_line_of_a_long_list_counts_like_the_first(tmp_path, n, row, message):
    with pytest.raises(InputError, match=f"line {n + 2}: {message}"):
        _read(tmp_path, _great_list(n) + f"\r\n{row}\r\n".encode())


def test_an_empty_count_among_many_is_unknown(tmp_path):
    clips = _read(tmp_path, _great_list(10) + "\r\nLäufer,a.avi,gehen,\r\n".encode())
    assert [clip.frames_decoded for clip in clips] == [*range(10), None]


def test_a_manifest_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.csv: No such file"):
        read_manifest(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    "clip_id",
    ["", "/a", "a/", "a//b", ".", "./a", "a/..", "../a", "a\\b", "a\nb", "a\x00", "a.h5", "a.h5/b"]
    + ["a\u2028", "\udce9", "x" * 151, "a/" + "é" * 76, ".hidden", "..a"],
)
def test_unsafe_ids_are_refused(clip_id):
    with pytest.raises(InputError, match="must"):
        check_id(clip_id)


@pytest.mark.parametrize(
    "clip_id",
    ["A b/c.d", "a..b/c...", "(x)[y];!&-#%", "日本/é", "a.h5x", "x" * 150],
)
def test_unusual_but_safe_ids_are_kept(tmp_path, clip_id):
    clip = Clip(id=clip_id, path=tmp_path / "a.avi", label="walk")
    write_manifest(tmp_path / "m.csv", [clip])
    assert read_manifest(tmp_path / "m.csv") == (clip,)


@pytest.mark.parametrize(
    "clips, message",
    [
        ([Clip("a/../b", Path("/a.avi"), "run")], "must not have a part"),
        ([Clip("a", Path("/a.avi"), "run"), Clip("a", Path("/b.avi"), "run")], "comes twice"),
        ([Clip("a", Path("/a.avi"), "")], "has no label"),
        ([Clip("a", Path("/\udce9.avi"), "run")], "UTF-8"),
    ],
)
def test_nothing_is_written_that_could_not_be_read(tmp_path, clips, message):
    with pytest.raises(InputError, match=message):
        write_manifest(tmp_path / "m.csv", clips)
    assert list(tmp_path.iterdir()) == []


def test_every_field_of_a_clip_has_its_column():
    assert COLUMNS[:5] == ("clip", "path", "label", "group", "split")
    assert COLUMNS[1:] == tuple(Clip.__slots__)[1:]
