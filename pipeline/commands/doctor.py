"""`cinefeat doctor`."""

import os
from importlib import metadata

import click


@click.command()
def doctor() -> int:
    """Check the installation: versions, OpenCV's modules and decoder, threads, GPUs.

    Exit status 2 if something that the program needs is wrong; each problem comes with its remedy.

    \b
    Example:
      cinefeat doctor
    """
    problems = opencv_problems(_installed_opencv(), _has_optflow())
    for name, version in _versions().items():
        click.echo(f"{name:<24}{version}")
    for problem in problems:
        click.echo(f"problem: {problem}")
    if not problems:
        click.echo("no problem found")
    return 2 if problems else 0


def opencv_problems(installed: list[str], has_optflow: bool) -> list[str]:
    """Return what is wrong with the installed OpenCV distributions, each with its remedy.

    All OpenCV distributions install the same folder ``cv2``; whichever came last wins.
    """
    remedy = (
        f"pip uninstall -y {' '.join(installed)} && pip install opencv-contrib-python"
        if installed
        else "pip install opencv-contrib-python"
    )
    if len(installed) > 1:
        return [f"{' and '.join(installed)} overwrite each other's files: {remedy}"]
    if not has_optflow:
        return [f"cv2 has no optflow module, so it is not the contrib build: {remedy}"]
    return []


def _installed_opencv() -> list[str]:
    names = {(dist.metadata["Name"] or "").lower() for dist in metadata.distributions()}
    return sorted(name for name in names if name.startswith("opencv-") and "python" in name)


def _has_optflow() -> bool:
    import cv2

    return hasattr(cv2, "optflow")


def _versions() -> dict[str, str]:
    import torch

    from cinefeat.pipeline.plan import versions

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        **versions(),
        "processors": str(len(os.sched_getaffinity(0))),
        "GPUs": ", ".join(gpus) or "none (everything runs on the CPU)",
    }
