"""Hands go along their paths; done is what it says."""

import torch

from reverie.models.physics.scenarios.hands import (
    DT,
    SPEED,
    Arrange,
    frame,
    in_hands,
    path,
    plan,
)
from reverie.physics import cloth
from reverie.physics.cloth import ClothState
from reverie.physics.stepper import Stepper
from reverie.physics.world import Place, WorldState

MATERIAL = {"density": 0.2, "stretch": 20.0, "bend": 1e-5, "friction": 0.5}


def lying(places: torch.Tensor, hand: tuple[float, float, float]) -> WorldState:
    at = Place(torch.tensor([[hand]]), torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]))
    return WorldState((), (), ClothState(places[None], torch.zeros(1, *places.shape)), at)


def test_done_is_near_and_flat_and_let_go() -> None:
    target = torch.rand(20, 3, generator=torch.Generator().manual_seed(0)) * 0.01
    task = Arrange(target, near=0.02, flat=0.05)
    far = (0.0, 0.0, 0.2)
    assert task.success(lying(target, far), {})
    assert not task.success(lying(target, tuple(target[3].tolist())), {})  # type: ignore[arg-type]
    off = target.clone()
    off[:2, 0] += 0.03
    assert task.success(lying(off, far), {})  # a tenth may be elsewhere
    off[:3, 0] += 0.03
    assert not task.success(lying(off, far), {})
    high = target.clone()
    high[0, 2] = 0.06
    assert not task.success(lying(high, far), {})


def test_the_reward_is_minus_the_mean_distance() -> None:
    target = torch.zeros(4, 3)
    moved = torch.tensor([[0.3, 0.4, 0.0], [0.0, 0.0, 0.1], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    state, action = lying(moved, (0.0, 0.0, 0.2)), torch.full((1, 4), 0.5)
    reward = Arrange(target, 0.02, effort=0.01).reward(state, action, state, {})
    torch.testing.assert_close(reward, torch.tensor([-0.15 - 0.01]), rtol=0, atol=2e-5)


def test_a_path_goes_through_its_places_and_rests_there() -> None:
    start, one, two = torch.zeros(3), torch.tensor([0.2, 0.0, 0.1]), torch.tensor([0.0, 0.3, 0.1])
    way = path((0.8, one), (0.4, lambda share: one + share * (two - one)), start=start)
    assert way.shape == (1 + 20 + 10, 3)
    torch.testing.assert_close(way[[0, 20, 30]], torch.stack([start, one, two]))
    moves = (way[1:] - way[:-1]).norm(dim=-1)
    for leg in (moves[:20], moves[20:]):
        assert max(leg[0], leg[-1]) < 0.25 * leg.max()


@torch.no_grad()
def test_a_plan_takes_hands_along_paths_with_what_they_hold() -> None:
    mesh = cloth.grid(0.1, 0.1, 4, 4)
    place = mesh.rest + torch.tensor([0.0, 0.0, 0.1])
    off = torch.tensor([0.0, 0.0, 0.018])
    world = in_hands(mesh, place, MATERIAL, held={0: 0, 3: 1, 1: 0}, off=off)
    assert world.hands is not None
    begin = world.hands.start.place[0]
    torch.testing.assert_close(begin, place[[0, 3]].float() + off)
    move = torch.tensor([0.06, 0.0, 0.05])
    ways = [path((0.4, start + move), start=start) for start in begin]
    actions = plan(ways, let_go=10, limit=24)
    assert actions.shape == (24, 8)
    assert actions[9, 3] == 1 and actions[-1, 3] == -1
    torch.testing.assert_close(actions[:, :3].sum(0) * DT * SPEED, move)
    stepper, state = Stepper(world), world.initial(1)
    for action in actions[:10]:
        state = stepper(state, action[None])
    torch.testing.assert_close(state.hands.place[0], begin + move)
    torch.testing.assert_close(
        state.cloth.position[0, [0, 3]], place[[0, 3]].float() + move, rtol=0, atol=1e-4
    )
    for action in actions[10:]:
        state = stepper(state, action[None])
    assert state.cloth.position[0, 0, 2] < place[0, 2]  # let go, it falls


def test_axes_are_turned() -> None:
    torch.testing.assert_close(
        torch.tensor([1.0, 0.0, 2.0]) @ frame(torch.pi / 2), torch.tensor([0.0, 1.0, 2.0])
    )
