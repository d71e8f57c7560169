"""How large a substep explicit integration bears.

Semi-implicit Euler on x'' = -L x - G x', L = M^-1 K and G = t L + c, is stable while

    dt^2 L + 2 dt G < 4

for the largest eigenvalues, which are bounded from above: of membranes and ropes by those of their
elements with a share of the mass (Fried 1972), of bending by sums of rows. Both bounds add up.

Legend: `B` worlds, `V` vertices, `F` triangles, `S` segments.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reverie.physics.cloth.material import ClothParams
from reverie.physics.cloth.mesh import ClothMesh


def stable_dt(mesh: ClothMesh, params: ClothParams, strain: float = 0.1) -> Tensor:
    """The largest dt [s] that keeps each world stable `[B]` at strains up to `strain`.

    A triangle in tension is stiffer by (3 (1 + strain)^2 - 1) / 2 (St. Venant and Kirchhoff).
    """
    mesh = mesh.to(params.mass)
    stiffer = (3 * (1 + strain) ** 2 - 1) / 2
    membrane = stiffer * _membrane(mesh, params)
    bending = _bending(mesh, params)
    both = torch.cat([membrane, stiffer * _ropes(mesh, params)], 1)
    damped = (both * params.damping).amax(1)
    rate = bending * params.bend_damping[:, mesh.body]
    square = both.amax(1) + bending.amax(1)
    loss = damped + rate.amax(1) + params.drag
    tiny = torch.finfo(square.dtype).tiny
    return 4 / (loss + (loss**2 + 4 * square).sqrt()).clamp_min(tiny)


def _membrane(mesh: ClothMesh, params: ClothParams) -> Tensor:
    """A bound of the largest eigenvalue of each triangle `[B, F]` [1/s^2]: the root of the sum of
    squares of the three that are not zero."""
    a, b, c, d = mesh.frame.unbind(-1)
    x, y = torch.stack([-a - c, a, c], -1), torch.stack([-b - d, b, d], -1)
    plane = mesh.area * params.stretch[:, : len(mesh.faces)] / (1 - params.poisson**2)
    cross, shear = params.poisson * plane, mesh.area * params.shear
    own = params.mass[:, mesh.faces] * _shares((plane + shear)[..., None] * (x * x + y * y), mesh)
    xx, yy, xy = ((p / own).sum(-1) for p in (x * x, y * y, x * y))
    zero = torch.zeros_like(xx)
    g = torch.stack([xx, zero, xy, zero, yy, xy, xy, xy, xx + yy], -1).unflatten(-1, (3, 3))
    law = torch.stack([plane, cross, zero, cross, plane, zero, zero, zero, shear], -1)
    product = law.unflatten(-1, (3, 3)) @ g
    return (product * product.mT).sum((-2, -1)).clamp_min(0).sqrt()


def _shares(stiff: Tensor, mesh: ClothMesh) -> Tensor:
    """The share `[B, F, 3]` of its corners' mass that a triangle has: that of its stiffness."""
    stiff = stiff.clamp_min(1e-30)
    whole = stiff.new_zeros(len(stiff), mesh.vertices)
    whole = whole.index_add(1, mesh.faces.reshape(-1), stiff.flatten(1))
    return stiff / whole[:, mesh.faces]


def _ropes(mesh: ClothMesh, params: ClothParams) -> Tensor:
    """The eigenvalue of each segment `[B, S]`, whose ends have the share of its stiffness."""
    cord = params.stretch[:, len(mesh.faces) :] / mesh.length
    one, two = mesh.segments.unbind(-1)
    whole = cord.new_zeros(len(cord), mesh.vertices).index_add(1, one, cord)
    whole = whole.index_add(1, two, cord)
    return whole[:, one] / params.mass[:, one] + whole[:, two] / params.mass[:, two]


def _bending(mesh: ClothMesh, params: ClothParams) -> Tensor:
    """The sums of rows of M^-1/2 D |K| M^-1/2, `[B, V]`."""
    row, column, value = mesh.bends
    root = params.mass.rsqrt()
    size = value.abs() * root[:, row] * root[:, column]
    total = torch.zeros_like(root).index_add(1, row, size)
    own = torch.zeros_like(value).new_zeros(mesh.vertices).index_add(0, row, -value)
    total = total + own.abs() / params.mass
    return total * params.bend[:, mesh.body]
