"""How the figures of the demo data set move: actions as joint angles, and the body that has them.

Every pose is the rest pose plus one contribution of *every* action, each at its own phase. In a
clip only the phase of the labelled action runs; the others stand still at a random phase. With
all phases uniform on the circle, the pose in any single frame has the same distribution whatever
the label, so that nothing but the motion shows it. Drawing is in `demo_render.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Curve = Callable[[Array], dict[str, Array]]

# Degrees of freedom and the range of each in the rest pose: degrees, but `lift` is in body heights.
# "out" turns in the frontal plane, away from the body; "forward" in the sagittal plane.
REST_RANGES: Final[dict[str, tuple[float, float]]] = {
    "torso_forward": (-3, 5),
    "torso_right": (-3, 3),
    "shoulder_out_right": (70, 90),
    "shoulder_out_left": (40, 65),
    "shoulder_forward_right": (-5, 15),
    "shoulder_forward_left": (-5, 15),
    "elbow_right": (60, 85),
    "elbow_left": (10, 45),
    "hip_out_right": (2, 8),
    "hip_out_left": (2, 8),
    "hip_forward_right": (-4, 6),
    "hip_forward_left": (-4, 6),
    "knee_right": (4, 10),
    "knee_left": (4, 10),
    "lift": (0, 0),
}


def _pulse(phase: Array, sharpness: float) -> Array:
    """Rise smoothly from 0 to 1 at phase pi and back; the sharper, the longer at 0."""
    return ((1 - np.cos(phase)) / 2) ** sharpness


def _bend(phase: Array) -> dict[str, Array]:
    down = _pulse(phase, 2)
    return {
        "torso_forward": 75 * down,
        "hip_forward_right": 10 * down,
        "hip_forward_left": 10 * down,
        "knee_right": 20 * down,
        "knee_left": 20 * down,
    }


def _flap(phase: Array) -> dict[str, Array]:
    up, lag = np.sin(phase), np.cos(phase)
    return {
        "shoulder_out_right": 45 * up,
        "shoulder_out_left": 45 * up,
        "elbow_right": 10 * lag,
        "elbow_left": 10 * lag,
    }


def _jack(phase: Array) -> dict[str, Array]:
    open_ = _pulse(phase, 1)
    return {
        "hip_out_right": 22 * open_,
        "hip_out_left": 22 * open_,
        "shoulder_out_right": 40 * open_,
        "shoulder_out_left": 40 * open_,
        "lift": 0.06 * np.sin(phase) ** 2,
    }


def _march(phase: Array) -> dict[str, Array]:
    right, left = np.maximum(np.sin(phase), 0) ** 2, np.maximum(-np.sin(phase), 0) ** 2
    return {
        "hip_forward_right": 48 * right,
        "knee_right": 75 * right,
        "hip_forward_left": 48 * left,
        "knee_left": 75 * left,
        "shoulder_forward_right": -30 * np.sin(phase),
        "shoulder_forward_left": 30 * np.sin(phase),
    }


def _sway(phase: Array) -> dict[str, Array]:
    side = np.sin(phase)
    return {"torso_right": 26 * side, "hip_out_right": -6 * side, "hip_out_left": 6 * side}


def _wave(phase: Array) -> dict[str, Array]:
    side = np.sin(phase)
    return {"elbow_right": 45 * side, "shoulder_out_right": 15 * side}


@dataclass(frozen=True)
class Action:
    """One class of the demo: what it adds to the rest pose, and its usual tempo in hertz."""

    curve: Curve
    hertz: float


ACTIONS: Final[dict[str, Action]] = {
    "bend": Action(_bend, 0.7),
    "flap": Action(_flap, 0.7),
    "jack": Action(_jack, 1.1),
    "march": Action(_march, 1.2),
    "sway": Action(_sway, 0.9),
    "wave": Action(_wave, 1.6),
}


def joint_angles(
    label: str,
    rest: Mapping[str, float],
    phases: Mapping[str, float],
    seconds: Array,
    *,
    tempo: float = 1.0,
) -> dict[str, Array]:
    """Compute the course of every joint angle of a figure that does one action.

    The angles are `rest` plus the contributions of all actions, each at its phase; the phase of
    `label` alone advances, by its tempo in hertz times `tempo`.

    Parameters
    ----------
    label : str
        The action that runs, a key of `ACTIONS`.
    rest : mapping
        Angle of each degree of freedom (the keys of `REST_RANGES`) at rest.
    phases : mapping
        Phase of each action at time zero, in radians.
    seconds : ndarray of shape (T,)
        Times of the frames.
    tempo : float
        Factor on the tempo of the action.

    Returns
    -------
    dict of ndarray of shape (T,)
        Degrees; ``lift`` in body heights.

    Examples
    --------
    At time zero the pose does not depend on the label:

    >>> rest = {name: low for name, (low, high) in REST_RANGES.items()}
    >>> phases = {name: 1.0 for name in ACTIONS}
    >>> [round(float(joint_angles(label, rest, phases, np.zeros(1))["elbow_right"][0]), 3)
    ...  for label in ("wave", "jack")]
    [103.269, 103.269]
    """
    angles = {name: np.full(seconds.shape, float(value)) for name, value in rest.items()}
    for name, action in ACTIONS.items():
        speed = 2 * np.pi * action.hertz * tempo if name == label else 0.0
        for joint, offset in action.curve(phases[name] + speed * seconds).items():
            angles[joint] = angles[joint] + offset
    return angles


@dataclass(frozen=True)
class Body:
    """Lengths of a figure's bones, in body heights."""

    thigh: float = 0.245
    shank: float = 0.245
    foot: float = 0.085
    torso: float = 0.285
    neck: float = 0.05
    head: float = 0.075
    shoulder: float = 0.105
    hip: float = 0.052
    upper_arm: float = 0.165
    forearm: float = 0.145


def _limb(side: int, out: Array, forward: Array) -> Array:
    """Point from straight down, turned `out` and then `forward`: (T, 3) unit vectors.

    The axes are right, up and forward of the figure; `side` is 1 for its right and -1 for its left.
    """
    out, forward = np.radians(out), np.radians(forward)
    return np.stack(
        [side * np.sin(out), -np.cos(out) * np.cos(forward), np.cos(out) * np.sin(forward)], axis=-1
    )


def _tilt(vectors: Array, angles: Mapping[str, Array], share: float = 1.0) -> Array:
    """Lean (T, 3) vectors with the torso, or by a share of its angles: to the right, then forward."""
    right, forward = (share * np.radians(angles[f"torso_{way}"]) for way in ("right", "forward"))
    x, y, z = vectors.T
    x, y = x * np.cos(right) + y * np.sin(right), y * np.cos(right) - x * np.sin(right)
    y, z = y * np.cos(forward) - z * np.sin(forward), y * np.sin(forward) + z * np.cos(forward)
    return np.stack([x, y, z], axis=-1)


def _leg(angles: Mapping[str, Array], body: Body, side: int, name: str) -> dict[str, Array]:
    out, forward = angles[f"hip_out_{name}"], angles[f"hip_forward_{name}"]
    shin = forward - angles[f"knee_{name}"]
    hip = np.broadcast_to([side * body.hip, 0.0, 0.0], (out.size, 3))
    knee = hip + body.thigh * _limb(side, out, forward)
    ankle = knee + body.shank * _limb(side, out * 0.8, shin)
    toe = ankle + body.foot * _limb(side, np.full_like(out, 8.0), shin * 0.5 + 80)
    return {f"hip_{name}": hip, f"knee_{name}": knee, f"ankle_{name}": ankle, f"toe_{name}": toe}


def _arm(angles: Mapping[str, Array], body: Body, side: int, name: str) -> dict[str, Array]:
    out, forward = angles[f"shoulder_out_{name}"], angles[f"shoulder_forward_{name}"]
    root = np.broadcast_to([side * body.shoulder, body.torso * 0.94, 0.0], (out.size, 3))
    shoulder = _tilt(root, angles)
    elbow = shoulder + body.upper_arm * _tilt(_limb(side, out, forward), angles)
    bent = _limb(side, out + angles[f"elbow_{name}"], forward + 12)
    hand = elbow + body.forearm * _tilt(bent, angles)
    return {f"shoulder_{name}": shoulder, f"elbow_{name}": elbow, f"hand_{name}": hand}


def joint_positions(angles: Mapping[str, Array], body: Body) -> dict[str, Array]:
    """Place the joints of a figure whose lower foot stands on the ground, or `lift` above it.

    Parameters
    ----------
    angles : mapping
        What `joint_angles` returns.
    body : Body
        Lengths of the bones.

    Returns
    -------
    dict of ndarray of shape (T, 3)
        Position of each joint in body heights: to the right, upward from the ground, and forward
        of the figure; the pelvis stays at zero to the right and forward.
    """
    pelvis = np.zeros((angles["lift"].size, 3))
    up = pelvis + [0.0, 1.0, 0.0]
    neck = body.torso * _tilt(up, angles)
    chin = neck + body.neck * _tilt(up, angles, 0.8)
    crown = chin + body.head * _tilt(up, angles, 0.7)
    joints = {"pelvis": pelvis, "neck": neck, "chin": chin, "crown": crown}
    for side, name in ((1, "right"), (-1, "left")):
        joints |= _leg(angles, body, side, name) | _arm(angles, body, side, name)
    lowest = np.minimum(joints["ankle_right"][:, 1], joints["ankle_left"][:, 1])
    raise_by = np.zeros_like(pelvis)
    raise_by[:, 1] = angles["lift"] - lowest
    return {name: joint + raise_by for name, joint in joints.items()}


def project(joint: Array, yaw: float, pitch: float) -> Array:
    """See a joint from a camera that is turned by `yaw` and looks down by `pitch` (radians).

    The projection is orthographic. Returns (T, 3): right, down and nearness (greater where nearer
    to the camera), in body heights from the point on the ground below the pelvis.
    """
    x, y, z = joint.T
    right = x * np.cos(yaw) + z * np.sin(yaw)
    level = z * np.cos(yaw) - x * np.sin(yaw)
    down = level * np.sin(pitch) - y * np.cos(pitch)
    near = level * np.cos(pitch) + y * np.sin(pitch)
    return np.stack([right, down, near], axis=-1)
