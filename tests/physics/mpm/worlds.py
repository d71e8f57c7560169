"""Small worlds of particles for the tests."""

import torch
from torch import Generator, Tensor

from reverie.physics.mpm import Kind, MPMParams, MPMState
from reverie.physics.mpm.material import at_rest, friction_limit, lame
from reverie.physics.tools import Shape, Tools

EVERY = (Shape.PLANE, Shape.SPHERE, Shape.CAPSULE, Shape.BOX, Shape.CYLINDER)


def params(
    batch: int,
    count: int,
    *,
    young: float = 2e4,
    poisson: float = 0.3,
    density: float = 1000.0,
    volume: float = 1e-6,
    limit: float = 0.0,
    viscosity: float = 0.0,
    gravity: float = -9.81,
    dtype: torch.dtype = torch.float64,
) -> MPMParams:
    one = torch.ones(batch, count, dtype=dtype)
    mu, lam = lame(one * young, one * poisson)
    down = torch.tensor([0.0, 0.0, gravity], dtype=dtype).expand(batch, 3).clone()
    return MPMParams(
        density * volume * one, volume * one, mu, lam, limit * one, viscosity * one, down
    )


def no_tools(batch: int, dtype: torch.dtype = torch.float64) -> Tools:
    none = torch.zeros(batch, 0, 3, dtype=dtype)
    return Tools(none, torch.zeros(batch, 0, 4, dtype=dtype), none, none, none, none[..., 0])


def floor(
    batch: int, height: float = 0.0, friction: float = 0.0, dtype: torch.dtype = torch.float64
) -> Tools:
    zero = torch.zeros(batch, 1, 3, dtype=dtype)
    place = zero + torch.tensor([0.0, 0.0, height], dtype=dtype)
    turn = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=dtype).expand(batch, 1, 4).clone()
    return Tools(place, turn, zero, zero, zero, zero[..., 0] + friction)


def block(
    counts: tuple[int, int, int],
    spacing: float,
    corner: tuple[float, float, float] = (0.0, 0.0, 0.0),
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Particles `[1, N, 3]` in the middle of cells of this spacing."""
    axes = [torch.arange(n, dtype=dtype) + 0.5 for n in counts]
    return (torch.cartesian_prod(*axes) * spacing + torch.tensor(corner, dtype=dtype))[None]


def mixed(
    seed: int = 0, batch: int = 2, count: int = 60, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, MPMState, MPMParams, Tools]:
    """Particles of all kinds that move wildly among tools of all shapes."""
    draws = Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=draws, dtype=torch.float64).to(dtype)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draws, dtype=torch.float64).to(dtype)

    kind = torch.arange(count) % len(Kind)
    corner = torch.tensor([0.3, -0.4, 0.02], dtype=dtype)
    state = at_rest(0.2 * rand(batch, count, 3) + corner, kind)
    state = state._replace(
        velocity=0.5 * randn(batch, count, 3), affine=20.0 * randn(batch, count, 3, 3)
    )
    made = params(batch, count, viscosity=5.0, dtype=dtype)
    made = made._replace(mu=made.mu * (1 + 0.1 * rand(batch, count)))
    angle = friction_limit(torch.full((batch, count), 0.6, dtype=dtype))
    limit = torch.where(kind == Kind.VON_MISES, 500.0, angle)
    made = made._replace(limit=torch.where(kind == Kind.SNOW, 0.025, limit))
    many = len(EVERY)
    turn = randn(batch, many, 4)
    turn = turn / turn.norm(dim=-1, keepdim=True)
    turn[:, 0] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    place = 0.2 * rand(batch, many, 3) + corner
    place[:, 0, 2] = 0.05
    tools = Tools(
        place,
        turn,
        randn(batch, many, 3),
        randn(batch, many, 3),
        0.06 + 0.02 * rand(batch, many, 3),
        torch.full((batch, many), 0.3, dtype=dtype),
    )
    return kind, state, made, tools
