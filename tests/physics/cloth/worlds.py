"""Small cloths for the tests."""

import torch
from torch import Generator, Tensor

from reverie.physics.cloth import (
    ClothMesh,
    ClothParams,
    ClothState,
    Hold,
    at_rest,
    fabric,
    grid,
    join,
    rope,
    sheet,
)
from reverie.physics.tools import Shape, Tools

EVERY = (Shape.PLANE, Shape.SPHERE, Shape.CAPSULE, Shape.BOX, Shape.CYLINDER)
DOUBLE = torch.float64


def seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def uneven(n: int, amount: float = 0.3, size: float = 1.0, seed: int = 0) -> ClothMesh:
    """A square of n x n vertices whose inner ones are out of place."""
    even = grid(size, size, n, n)
    x = even.rest[:, :2] / size
    inner = ((x > 1e-9) & (x < 1 - 1e-9)).all(1, keepdim=True)
    off = 2 * torch.rand(len(x), 2, generator=seeded(seed), dtype=DOUBLE) - 1
    moved = size * (x + inner * amount / (n - 1) * off)
    return sheet(torch.cat([moved, even.rest[:, 2:]], 1), even.faces)


def tools(
    places: list[tuple[float, float, float]],
    extents: list[tuple[float, float, float]] | None = None,
    friction: float = 0.0,
    batch: int = 1,
    dtype: torch.dtype = DOUBLE,
) -> Tools:
    """Tools that stand upright and still."""
    place = torch.tensor(places, dtype=dtype).expand(batch, -1, -1).clone()
    extent = torch.zeros_like(place)
    if extents is not None:
        extent = extent + torch.tensor(extents, dtype=dtype)
    turn = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=dtype).expand(*place.shape[:2], 4).clone()
    still = torch.zeros_like(place)
    return Tools(place, turn, still, still.clone(), extent, still[..., 0] + friction)


def crowded(
    dtype: torch.dtype = DOUBLE,
) -> tuple[ClothMesh, ClothState, ClothParams, Tools, Hold]:
    """Two worlds of a crumpled sheet, a second sheet close above and a rope, met by a tool of every
    shape, with some vertices held."""
    mesh = join(
        [grid(0.5, 0.6, 5, 6), grid(0.3, 0.3, 3, 3), rope([[0.1, 0.1 * i, 0.02] for i in range(4)])]
    )
    rest, made = at_rest(mesh, 2), seeded()

    def noise(like: Tensor, scale: float) -> Tensor:
        return scale * torch.randn(like.shape, generator=made, dtype=DOUBLE)

    lifted = mesh.of_vertices(torch.tensor([0.0, 0.012, 0.0], dtype=DOUBLE))
    position = rest.position.double() + noise(rest.position, 0.006)
    position[..., 2] += lifted
    state = ClothState(position.to(dtype), noise(position, 0.3).to(dtype))
    params = fabric(
        mesh,
        state.position,
        density=mesh.of_vertices(torch.tensor([0.2, 0.3, 0.02])),
        stretch=mesh.of_elements(torch.tensor([60.0, 50.0, 5.0])),
        poisson=0.25,
        shear=14.0,
        damping=1e-3,
        bend=torch.tensor([1e-4, 2e-4, 1e-6]),
        bend_damping=2e-3,
        thickness=torch.tensor([0.02, 0.025]),
        friction=0.4,
        drag=0.5,
    )
    some = tools(
        [
            (0.0, 0.0, -0.005),
            (0.3, 0.3, -0.1),
            (0.1, 0.5, -0.04),
            (0.45, 0.1, -0.06),
            (0.2, 0.1, -0.05),
        ],
        [
            (0.0, 0.0, 0.0),
            (0.11, 0.0, 0.0),
            (0.05, 0.1, 0.0),
            (0.05, 0.06, 0.07),
            (0.06, 0.06, 0.0),
        ],
        friction=0.3,
        batch=2,
    )
    turn = some.turn + noise(some.turn, 0.05)
    some = some._replace(
        turn=turn / turn.norm(dim=-1, keepdim=True),
        linear=noise(some.linear, 0.3),
        angular=noise(some.angular, 0.5),
    )
    tool = torch.full((2, mesh.vertices), -1)
    tool[0, 3], tool[1, 20], tool[:, 31] = 1, 4, 0
    weight = torch.rand(tool.shape, generator=made, dtype=DOUBLE) * (tool >= 0)
    weight[:, 10] = 0.5
    hold = Hold(tool, weight.to(dtype))
    return mesh, state, params, Tools(*(x.to(dtype) for x in some)), hold
