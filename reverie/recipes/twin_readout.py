"""What is sensed, as a function of where bodies are and how they move, fitted to a simulator.

    o = phi(q, v, d) W,   phi = [1, q, sin q, cos q, v, d, x_b, R_b, v_b, w_b]

with places x_b, rotations R_b and velocities of all bodies, and d what the task draws. Most sensors
of robots are linear in phi, so W is found by least squares at states all over the state space, and
held to others: who reads W can differentiate what is sensed, which the simulator cannot. A sensor
that is not linear in phi (touch, distances, views of oneself) is refused by its name.

Legend: `B` batch, `F` features, `N` samples, `M` numbers sensed, `D` drawn numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reverie.core import tree
from reverie.core.spec import Space
from reverie.physics.rigid import Loaded, RigidParams, RigidState, kinematics
from reverie.physics.rigid.spatial import matrix
from reverie.recipes.twin_source import PHYSICS, Source

MISSED = 1e-6
"""The most that 1 - R^2 may be, at states that were not fitted."""
COLLINEAR = 1e-10
"""Singular values below this share of the largest are taken for zero."""
TRAINED = 0.75


class Readout(NamedTuple):
    """The fitted function."""

    weight: Tensor
    """W `[F, M]` float64."""
    spaces: Mapping[str, Space]
    """Of the sensors, in the order of the columns of W."""
    missed: Mapping[str, float]
    """1 - R^2 of the worst entry of each sensor."""

    def __call__(self, features: Tensor) -> dict[str, Tensor]:
        """Sensors `[B, ...]` by name, of features `[B, F]`."""
        flat = features @ self.weight.to(features)
        sizes = [space.size for space in self.spaces.values()]
        pieces = flat.split(sizes, -1)
        return {
            name: piece.reshape(-1, *space.shape)
            for (name, space), piece in zip(self.spaces.items(), pieces, strict=True)
        }


def features(bodies: Loaded, position: Tensor, velocity: Tensor, drawn: Tensor) -> Tensor:
    """phi `[B, F]`, with gradient."""
    params: RigidParams = tree.map(lambda x: x.to(position), bodies.params)
    seen = kinematics(bodies.model, RigidState(position, velocity), params)
    turns = matrix(seen.bodies[..., 3:]).flatten(1)
    places = seen.bodies[..., :3].flatten(1)
    one = torch.ones_like(position[:, :1])
    angles = (position, position.sin(), position.cos())
    return torch.cat([one, *angles, velocity, drawn, places, turns, seen.velocities.flatten(1)], -1)


def fit(source: Source, sensors: Sequence[str] = ()) -> Readout:
    """Fit the sensors of an environment, by default all but pictures.

    Raises:
        ValueError: a sensor is unknown, or is no linear function of phi.
    """
    known = {
        name: space
        for name, space in source.env.obs.items()
        if name != PHYSICS and not space.is_image
    }
    if unknown := sorted(set(sensors) - set(known)):
        raise ValueError(f"{source.config.name} has the sensors {sorted(known)}, not {unknown}.")
    wanted = tuple(sensors) or tuple(known)
    spaces = {name: space for name, space in known.items() if name in wanted}
    count = 4 * _phi(source, source.samples(1)).shape[1] + 64
    moments = source.samples(count)
    phi, truth = _phi(source, moments), source.sense(moments)
    cut = math.ceil(TRAINED * count)
    columns, missed = [np.zeros((phi.shape[1], 0))], {}
    for name in spaces:
        seen = truth[name].reshape(count, -1)
        weight = np.linalg.lstsq(phi[:cut], seen[:cut], rcond=COLLINEAR)[0]
        off = np.square(phi[cut:] @ weight - seen[cut:]).mean(0)
        missed[name] = float((off / (seen[cut:].var(0) + MISSED)).max())
        columns.append(weight)
    if wrong := {name: miss for name, miss in missed.items() if not miss <= MISSED}:
        said = ", ".join(f"{name} (1 - R^2 = {miss:.1e})" for name, miss in wrong.items())
        rest = tuple(name for name in spaces if name not in wrong)
        remedy = f"leave it out with sensors={rest}" if rest else "nothing else is sensed there"
        raise ValueError(
            f"What {source.config.name} senses as {said} is no linear function of where its bodies "
            f"are and how they move, so the twin cannot predict it; {remedy}."
        )
    return Readout(torch.from_numpy(np.concatenate(columns, 1)), spaces, missed)


def _phi(source: Source, moments: np.ndarray) -> np.ndarray:
    """phi `[N, F]` of vectors."""
    at, rows = source.layout, torch.from_numpy(moments)
    with torch.no_grad():
        found = features(
            source.bodies, rows[:, at.position], rows[:, at.velocity], rows[:, at.drawn]
        )
    return found.numpy()
