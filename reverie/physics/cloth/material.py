"""What cloth and ropes are made of, where they are, and who holds them.

Legend: `B` worlds, `V` vertices, `F` triangles, `S` segments, `P` bodies, `K` tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from reverie.physics.cloth.mesh import ClothMesh

Amount: TypeAlias = float | Tensor
"""A number, or a tensor that broadcasts to the shape of the parameter: `[B, 1]` differs by world,
`[V]` or `[F + S]` by element (see `ClothMesh.of_elements` for values by body)."""


class ClothState(NamedTuple):
    """Vertices."""

    position: Tensor
    """x `[B, V, 3]` [m]."""
    velocity: Tensor
    """v `[B, V, 3]` [m/s]."""


class ClothParams(NamedTuple):
    """What cloth is made of; see `fabric` for a whole mesh."""

    mass: Tensor
    """`[B, V]` [kg]."""
    stretch: Tensor
    """Young's modulus times thickness Y [N/m] of triangles, times cross section EA [N] of segments
    `[B, F + S]`."""
    poisson: Tensor
    """Contraction in the plane `[B, F]`, in (-1, 1)."""
    shear: Tensor
    """Shear modulus times thickness G `[B, F]` [N/m]; isotropic if Y / (2 (1 + poisson))."""
    damping: Tensor
    """Time constant of viscous stress in stretch and shear `[B, F + S]` [s]."""
    bend: Tensor
    """Rigidity of each body `[B, P]`: D [N m] of a sheet, EI [N m^2] of a rope."""
    bend_damping: Tensor
    """Time constant of viscous bending `[B, P]` [s]."""
    thickness: Tensor
    """`[B]` [m]: the distance layers keep; half of it is kept from tools."""
    friction: Tensor
    """Coulomb's coefficient between layers `[B]`; tools have their own."""
    drag: Tensor
    """The air's deceleration c, a = -c v `[B]` [1/s]."""
    gravity: Tensor
    """`[B, 3]` [m/s^2]."""


class Hold(NamedTuple):
    """Who holds which vertices during a call: `v+ = v + weight (v of the holder - v)`."""

    tool: Tensor
    """The tool a vertex moves with rigidly, integers `[B, V]`; -1 is the world, standing still."""
    weight: Tensor
    """`[B, V]`, 0 free to 1 rigid; what lies between slips, as in a viscous grip whose velocity
    decays within dt / weight."""


def at_rest(mesh: ClothMesh, batch: int = 1, dtype: torch.dtype = torch.float32) -> ClothState:
    """A mesh as it was made, standing still."""
    position = mesh.rest.to(dtype).expand(batch, -1, -1).clone()
    return ClothState(position, torch.zeros_like(position))


def fabric(
    mesh: ClothMesh,
    like: Tensor,
    *,
    density: Amount,
    stretch: Amount,
    poisson: Amount = 0.3,
    shear: Amount | None = None,
    damping: Amount = 0.0,
    bend: Amount = 0.0,
    bend_damping: Amount = 0.0,
    thickness: Amount = 1e-3,
    friction: Amount = 0.3,
    drag: Amount = 0.0,
    gravity: Sequence[float] | Tensor = (0.0, 0.0, -9.81),
) -> ClothParams:
    """Parameters for positions `like` `[B, V, 3]`, with a gradient to every amount given.

    `density` is the mass of an area of sheet [kg/m^2] and of a length of rope [kg/m], by vertex;
    the others are as in `ClothParams`. Cotton has about 0.15 kg/m^2, 2000 N/m and 1e-5 N m.
    """
    batch = len(like)

    def made(amount: Amount, *shape: int) -> Tensor:
        return torch.as_tensor(amount, dtype=like.dtype, device=like.device).expand(batch, *shape)

    def one(amount: Amount) -> Tensor:
        flat = torch.as_tensor(amount, dtype=like.dtype, device=like.device).reshape(-1)
        return flat.expand(batch)

    faces = len(mesh.faces)
    young = made(stretch, mesh.elements)
    contraction = made(poisson, faces)
    isotropic = young[:, :faces] / (2 * (1 + contraction))
    return ClothParams(
        mass=made(density, mesh.vertices) * mesh.share.to(like),
        stretch=young,
        poisson=contraction,
        shear=isotropic if shear is None else made(shear, faces),
        damping=made(damping, mesh.elements),
        bend=made(bend, mesh.bodies),
        bend_damping=made(bend_damping, mesh.bodies),
        thickness=one(thickness),
        friction=one(friction),
        drag=one(drag),
        gravity=torch.as_tensor(gravity, dtype=like.dtype, device=like.device).expand(batch, 3),
    )


def web(params: ClothParams, mesh: ClothMesh) -> tuple[Tensor, Tensor, Tensor]:
    """What the forces read: `[B, F, 4]` of triangles, `[B, S]` and `[B, S]` of segments.

    Of a triangle of area A: A Y / (1 - nu^2), nu times that, A G [N m], and its damping [s]; of a
    segment: EA / L [N/m] and its damping.
    """
    faces = len(mesh.faces)
    plane = mesh.area * params.stretch[:, :faces] / (1 - params.poisson**2)
    parts = (plane, params.poisson * plane, mesh.area * params.shear, params.damping[:, :faces])
    cord = params.stretch[:, faces:] / mesh.length
    return torch.stack(parts, -1), cord, params.damping[:, faces:]
