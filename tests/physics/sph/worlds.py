"""Small liquids for the tests."""

import math

import torch
from torch import Generator, Tensor

from reverie.physics.sph import SPHParams, SPHState
from reverie.physics.tools import Shape, Tools

EVERY = (Shape.PLANE, Shape.SPHERE, Shape.CAPSULE, Shape.BOX, Shape.CYLINDER)
HALF = math.sqrt(0.5)
TURNS = {
    "+x": [HALF, 0.0, HALF, 0.0],
    "-x": [HALF, 0.0, -HALF, 0.0],
    "+y": [HALF, -HALF, 0.0, 0.0],
    "-y": [HALF, HALF, 0.0, 0.0],
    "+z": [1.0, 0.0, 0.0, 0.0],
    "-z": [0.0, 1.0, 0.0, 0.0],
}
"""Of a plane, by the direction in which it looks."""
DTYPE = torch.float64


def params(
    count: int,
    spacing: float,
    *,
    batch: int = 1,
    sound: float = 10.0,
    nu: float = 0.0,
    background: float = 0.0,
    gravity: tuple[float, float, float] = (0.0, 0.0, -9.81),
) -> SPHParams:
    """Water."""
    one = torch.ones(batch, dtype=DTYPE)
    down = torch.tensor(gravity, dtype=DTYPE).expand(batch, 3).clone()
    mass = torch.full((batch, count), 1000 * spacing**3, dtype=DTYPE)
    return SPHParams(mass, 1000 * one, sound * one, 1000 * nu * one, background * one, down)


def planes(walls: dict[str, float], friction: float = 0.0) -> Tools:
    """Planes by the direction in which they look, and where they stand along it."""
    place = torch.zeros(1, len(walls), 3, dtype=DTYPE)
    for k, (side, at) in enumerate(walls.items()):
        place[0, k, "xyz".index(side[1])] = at
    turn = torch.tensor([[TURNS[side] for side in walls]], dtype=DTYPE)
    still = torch.zeros_like(place)
    return Tools(place, turn, still, still, still, still[..., 0] + friction)


def no_tools(batch: int, dtype: torch.dtype = DTYPE) -> Tools:
    none = torch.zeros(batch, 0, 3, dtype=dtype)
    return Tools(none, torch.zeros(batch, 0, 4, dtype=dtype), none, none, none, none[..., 0])


def block(counts: tuple[int, int, int], spacing: float) -> Tensor:
    """Particles `[1, N, 3]` in the middle of cells of this spacing."""
    axes = [torch.arange(n, dtype=DTYPE) + 0.5 for n in counts]
    return (torch.cartesian_prod(*axes) * spacing)[None]


def mixed(seed: int = 0, batch: int = 2, count: int = 60) -> tuple[SPHState, SPHParams, Tools]:
    """Particles that move wildly among tools of all shapes; for h = 0.06."""
    draws = Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=draws, dtype=DTYPE)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draws, dtype=DTYPE)

    corner = torch.tensor([0.3, -0.4, 0.02], dtype=DTYPE)
    density = 1000 * (1.01 + 0.01 * rand(batch, count))
    state = SPHState(0.2 * rand(batch, count, 3) + corner, 0.5 * randn(batch, count, 3), density)
    made = params(count, 0.05, batch=batch, nu=0.01, background=300.0)
    made = made._replace(mass=made.mass * (1 + 0.1 * rand(batch, count)))
    many = len(EVERY)
    turn = randn(batch, many, 4)
    turn = turn / turn.norm(dim=-1, keepdim=True)
    turn[:, 0] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    place = 0.2 * rand(batch, many, 3) + corner
    place[:, 0, 2] = 0.02
    tools = Tools(
        place,
        turn,
        randn(batch, many, 3),
        randn(batch, many, 3),
        0.03 + 0.01 * rand(batch, many, 3),
        torch.full((batch, many), 0.3, dtype=DTYPE),
    )
    return state, made, tools
