"""File systems that rename at once pass, others are refused before anything is computed."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from cinefeat.pipeline import renaming
from cinefeat.pipeline.errors import InputError


def test_a_file_system_that_renames_passes_and_nothing_is_left(tmp_path: Path) -> None:
    renaming.require_renaming(tmp_path / "new/store")
    assert list((tmp_path / "new/store").iterdir()) == []


def _copy(old: Path, new: Path) -> None:
    shutil.copyfile(old, new)  # into the file that readers have open, as object stores do
    os.unlink(old)


def _leave(old: Path, new: Path) -> None:
    shutil.copyfile(old, new.with_name("x"))
    os.rename(new.with_name("x"), new)


def _fail(*_: object) -> None:
    raise OSError(errno.ENOSYS, "not implemented")


@pytest.mark.parametrize("replace", [_copy, _leave, _fail])
def test_another_kind_of_rename_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: object
) -> None:
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(InputError, match="does not replace another at once: half-written files"):
        renaming.require_renaming(tmp_path)
    assert list(tmp_path.iterdir()) == []


MOUNTS = """\
22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 22 0:45 / {0}/bucket rw,nosuid - fuse.s3fs s3fs rw,user_id=0
32 31 0:46 / {0}/bucket/disk rw - tmpfs tmpfs rw
33 22 0:47 / {0}/my\\040bucket rw - fuse mountpoint-s3 rw
"""


@pytest.mark.parametrize(
    "folder, found",
    [
        ("bucket", "s3fs"),
        ("bucket/deep/store", "s3fs"),
        ("bucket/disk/store", ""),
        ("my bucket/x", "mountpoint-s3"),
        ("bucketful", ""),
        (".", ""),
    ],
)
def test_object_stores_are_known_by_their_mounts(tmp_path: Path, folder: str, found: str) -> None:
    (tmp_path / "mounts").write_text(MOUNTS.format(tmp_path))
    assert renaming._copying_system(tmp_path / folder, tmp_path / "mounts") == found


def test_an_object_store_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renaming, "_copying_system", lambda *_: "gcsfuse")
    with pytest.raises(InputError, match="lies on gcsfuse, which copies instead of renaming"):
        renaming.require_renaming(tmp_path)
