"""`cinefeat show`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from cinefeat.pipeline.errors import InputError

if TYPE_CHECKING:
    from cinefeat.pipeline.pictures import Picture, View

_path = click.Path(path_type=Path)
_VIEWS = ("flow", "warped-flow", "trajectories", "windows", "features")
# option -> the views that it says something about
_OPTIONS = {
    "product": ("flow", "warped-flow", "trajectories", "windows", "features"),
    "array": ("windows", "features"),
    "max_motion": ("flow", "warped-flow"),
    "segments": ("windows",),
    "stride": ("windows",),
    "window": ("windows",),
}


@click.command()
@click.argument("video", type=_path)
@click.option("--what", type=click.Choice(_VIEWS), required=True, help="What to show.")
@click.option("-o", "--output", type=_path, required=True, help="A .mp4 film or a .png picture.")
@click.option(
    "--from",
    "product",
    type=_path,
    help="Stored product of this video to show; else it is computed.",
)
@click.option("--array", help="Of the product, where it has several: i3d-rgb/logits.")
@click.option(
    "--frame", type=click.IntRange(min=0), help="Of a .png of motion. Default: the middle one."
)
@click.option(
    "--max-motion",
    type=click.FloatRange(min=0, min_open=True),
    help="Pixels of the fullest colour. Default: the greatest motion, without outliers.",
)
@click.option(
    "--camera/--no-camera",
    default=True,
    show_default=True,
    help="Find the trajectories that follow the camera, and draw them in white.",
)
@click.option(
    "--segments", type=click.IntRange(min=1), help="So many windows, evenly spread (TSN)."
)
@click.option("--stride", type=click.IntRange(min=1), help="Or a window every so many frames.")
@click.option("--window", type=click.IntRange(min=1), help="Frames of a window. Default: 1.")
@click.option(
    "--rows",
    type=click.IntRange(1, 64),
    default=12,
    show_default=True,
    help="Dimensions of a feature: those that vary most.",
)
def show(
    video: Path,
    what: str,
    output: Path,
    product: Path | None,
    array: str | None,
    frame: int | None,
    max_motion: float | None,
    camera: bool,
    segments: int | None,
    stride: int | None,
    window: int | None,
    rows: int,
) -> None:
    """Show beside the frames of VIDEO what is seen in them: motion, tracks, windows, features.

    \b
    flow          colours of the Middlebury benchmark: right red, down yellow, left blue, up violet
    warped-flow   the same without the camera's motion
    trajectories  dark where they began, green now, red at the end; white: removed, as the camera's
    windows       which frames snippets (--segments, --window) or windows (--stride) take
    features      a stored feature along time, a line per dimension (--from)

    A .png shows one frame (--frame) of motion, or all windows or the whole feature on a sheet.

    \b
    Examples:
      cinefeat show dive.avi --what flow -o flow.mp4
      cinefeat show dive.avi --what windows --segments 3 --window 5 -o snippets.png
      cinefeat show dive.avi --what features --from store/embed/0123456789ab/dive.h5 -o dive.png
    """
    given = {
        "product": product,
        "array": array,
        "max_motion": max_motion,
        "segments": segments,
        "stride": stride,
        "window": window,
    }
    _check(what, output, given, frame)
    if what == "windows":
        chosen = _windows(video, product, array, segments, stride, window or 1)
        view, picture = _of_windows(video, chosen, output)
    elif what == "features":
        view, picture = _of_feature(video, product, array, rows, output)
    else:
        view, picture = _of_motion(video, what, product, max_motion, camera, frame, output)
    _write(output, view, picture)


def _check(what: str, output: Path, given: Mapping[str, object], frame: int | None) -> None:
    for name, value in given.items():
        if value is not None and what not in _OPTIONS[name]:
            option = "from" if name == "product" else name.replace("_", "-")
            raise InputError(f"--{option} says nothing about --what {what}: leave it out")
    if output.suffix.lower() not in (".mp4", ".png"):
        raise InputError(f"{output}: give a name that ends in .mp4 (a film) or .png (a picture)")
    is_sheet = what in ("windows", "features")
    if frame is not None and (is_sheet or output.suffix.lower() == ".mp4"):
        raise InputError("--frame goes with a .png of flow, warped-flow or trajectories")


def _of_motion(
    video: Path,
    what: str,
    product: Path | None,
    max_motion: float | None,
    camera: bool,
    frame: int | None,
    output: Path,
) -> "tuple[View | None, Picture | None]":
    from cinefeat.pipeline.pictures import measure, picture_at
    from cinefeat.pipeline.showing import show_flow, show_tracks

    is_film = output.suffix.lower() == ".mp4"
    if not is_film and frame is None:
        frame = (measure(video).n_frames - 1) // 2

    if what == "trajectories":
        height = 240 if is_film else 480  # encoding a large film takes longer than tracking
        view = show_tracks(video, camera_motion=camera, product=product, height=height)
        return (view, None) if frame is None else (None, picture_at(view, frame))
    warped = what == "warped-flow"
    view = show_flow(video, warped=warped, product=product, max_motion=max_motion, frame=frame)
    return (view, None) if frame is None else (None, picture_at(view, 0))


def _of_windows(
    video: Path, windows: list[tuple[int, int]], output: Path
) -> "tuple[View | None, Picture | None]":
    from cinefeat.pipeline.timelines import show_windows, window_sheet

    if output.suffix.lower() == ".png":
        return None, window_sheet(video, windows)
    return show_windows(video, windows), None


def _of_feature(
    video: Path, product: Path | None, array: str | None, rows: int, output: Path
) -> "tuple[View | None, Picture | None]":
    from cinefeat.pipeline.timelines import feature_sheet, read_feature, show_feature

    if product is None:
        raise InputError(
            "--what features needs --from FILE, a product such as `cinefeat embed` writes"
        )
    feature = read_feature(product, array)
    if output.suffix.lower() == ".png":
        return None, feature_sheet(video, feature, rows)
    return show_feature(video, feature, rows), None


def _windows(
    video: Path,
    product: Path | None,
    array: str | None,
    segments: int | None,
    stride: int | None,
    length: int,
) -> list[tuple[int, int]]:
    from cinefeat.extractors import dense_starts, segment_starts
    from cinefeat.pipeline.pictures import measure
    from cinefeat.pipeline.timelines import read_feature

    if sum(value is not None for value in (product, segments, stride)) != 1:
        raise InputError("--what windows needs one of --segments K, --stride S, --from FILE")
    if product is not None:
        feature = read_feature(product, array)
        return list(zip(feature.first.tolist(), feature.last.tolist(), strict=True))
    n_frames = measure(video).n_frames
    if segments is not None:
        starts = segment_starts(n_frames, segments, length)
    else:
        starts = dense_starts(n_frames, length, stride or 1)
    ends = np.minimum(starts + length, n_frames) - 1
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _write(output: Path, view: "View | None", picture: "Picture | None") -> None:
    from cinefeat.pipeline.pictures import write_film, write_picture

    if picture is not None:
        write_picture(output, picture)
        click.echo(str(output))
    elif view is not None:
        n_pictures = write_film(output, view)
        click.echo(f"{n_pictures} pictures in {output}")
