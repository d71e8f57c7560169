"""Clay: a loaf is parted for good, a mould is filled, and both are judged by what they say."""

from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.core import rollout, tree
from reverie.models.physics.scenarios.clay import CUT, DX, LIMIT, MOULD, Moulded, Parted
from reverie.models.physics.scenarios.scenario import Draw, Kind, begin, end_of, world_model
from reverie.physics.mpm.material import at_rest
from reverie.physics.world import Place, WorldState

KINDS = {"cut": CUT, "mould": MOULD}
ALL = [(seed, hard) for hard in (0.2, 0.5, 0.9) for seed in range(20)]


def state(x: Tensor, hand: tuple[float, float, float]) -> WorldState:
    matter = at_rest(x[None], torch.zeros(len(x), dtype=torch.int64))
    turn = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    return WorldState((), matter, (), Place(torch.tensor([[hand]]), turn))


def pair(below: int, above: int, gap: float, strays: int = 0) -> Tensor:
    """Particles on a line along (0.6, 0.8): so many on each side of a gap, and some in it."""
    low, high = torch.linspace(-0.1, 0.0, below), torch.linspace(gap, gap + 0.1, above)
    inside = torch.full((strays,), gap / 2)
    return torch.cat([high, inside, low])[:, None] * torch.tensor([0.6, 0.8, 0.0])


@pytest.mark.parametrize("name", KINDS)
def test_all_scenes_have_the_same_spaces(name: str) -> None:
    kind = KINDS[name]
    scenes = [
        kind.scene(kind.draw(Draw(seed, hard))) for seed, hard in ((0, 0.0), (1, 0.5), (5, 1))
    ]
    specs = [world_model(made).spec for made in scenes]
    assert all((s.obs, s.action) == (specs[0].obs, specs[0].action) for s in specs)
    assert specs[0].action.shape == (3,)


@pytest.mark.parametrize(
    ("name", "entries", "message"),
    [
        ("cut", {"gap": 0.02}, r"'gap' is 0.02; give 0.048 to 0.15"),
        ("cut", {"share": 0.9}, r"'share' is 0.9"),
        ("cut", {"limit": 0.0}, r"'limit' is 0.0"),
        ("mould", {"fill": 1.5}, r"'fill' is 1.5"),
        ("mould", {"lump": "egg"}, r"got 'egg'"),
    ],
)
def test_numbers_without_sense_are_refused(
    name: str, entries: dict[str, Any], message: str
) -> None:
    kind = KINDS[name]
    with pytest.raises(ValueError, match=message):
        kind.scene({**kind.draw(Draw(0, 0.5)), **entries})


def test_it_is_harder_where_the_difficulty_is_higher() -> None:
    easy, hard = (CUT.draw(Draw(3, x)) for x in (0.1, 0.9))
    assert hard["tolerance"] < easy["tolerance"] and hard["gap"] > easy["gap"]
    assert abs(hard["skew"]) > abs(easy["skew"]) and abs(hard["share"] - 0.5) > 0
    easy, hard = (MOULD.draw(Draw(3, x)) for x in (0.1, 0.9))
    assert hard["share"] > easy["share"] and max(hard["press"]) < min(easy["press"])


@pytest.mark.parametrize(
    ("below", "above", "gap", "strays", "done"),
    [
        (100, 100, 0.06, 0, True),
        (100, 100, 0.04, 0, False),
        (110, 90, 0.06, 0, True),
        (125, 75, 0.06, 0, False),
        (99, 99, 0.06, 2, True),
        (98, 98, 0.06, 4, False),
    ],
)
def test_parted_is_a_gap_in_the_right_place(
    below: int, above: int, gap: float, strays: int, done: bool
) -> None:
    """One particle in a hundred may stay behind."""
    task = Parted((0.6, 0.8), 0.05, 0.5, 0.1, 0.03)
    made = state(pair(below, above, gap, strays), (0.0, 0.0, 0.1))
    assert bool(task.success(made, {"share": torch.tensor([[0.5]])})) == done


def test_the_reward_of_a_cut_is_what_is_missing_and_the_way_of_the_blade() -> None:
    task = Parted((0.6, 0.8), 0.05, 0.5, 0.02, 0.03, size=0.2, stray=0.0, effort=0.1)
    x = pair(100, 100, 0.02)
    middle = x.mean(0)
    across = torch.tensor([-0.8, 0.6, 0.0])
    place = 0.02 * torch.tensor([0.6, 0.8, 0.0]) + (middle * across).sum() * across
    hand = place + torch.tensor([0.0, 0.0, 0.03 + 0.1])
    made = state(x, tuple(hand.tolist()))
    reward = task.reward(made, torch.ones(1, 3), made, {"share": torch.tensor([[0.5]])})
    assert float(reward) == pytest.approx(-(1 - 0.02 / 0.05) * (1 + 0.1 / 0.2) - 0.3, abs=1e-4)


def test_moulded_is_a_share_in_the_box_and_the_reward_the_mean_distance() -> None:
    task = Moulded((0.0, 0.0, 0.02), (0.05, 0.04, 0.02), 0.004, 0.75, grip=0.5, effort=0.0)
    x = torch.tensor([[0.0, 0, 0.01], [0.04, 0, 0.03], [0, -0.03, 0.043], [0.05, 0.04, 0.09]])
    made = state(x, tuple(x.mean(0).tolist()))
    assert bool(task.success(made, {}))
    reward = task.reward(made, torch.zeros(1, 3), made, {})
    assert float(reward) == pytest.approx(-(0.003 + 0.05) / 4, abs=2e-4)
    higher = state(x + torch.tensor([0.0, 0.0, 0.002]), (0.0, 0.0, 0.0))
    assert not bool(task.success(higher, {}))


def judged(kind: Kind, seed: int, difficulty: float) -> tuple[Any, Tensor, WorldState, list[bool]]:
    """The model, its plan, and what plan, nothing and anything lead to."""
    numbers = kind.draw(Draw(seed, difficulty))
    made = kind.scene(numbers)
    model = world_model(made)
    assert kind.plan is not None
    plan = kind.plan(model, numbers)
    assert plan.shape == (LIMIT, 3) and float(plan.abs().max()) <= 1
    other = torch.rand(plan.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    end = end_of(model, torch.stack([plan, 0 * plan, other]))
    return model, plan, end, made.task.success(end, begin(model, made, 3).context).tolist()


def steep(model: Any, plan: Tensor, first: int) -> Tensor:
    """The gradient of the rewards of five decisions from `first` on to their actions `[5, 3]`."""
    with torch.no_grad():
        before = rollout.imagine(model, model.initial(1), plan[:first, None, None], (), keep="last")
    acts = plan[first : first + 5, None, None].clone().requires_grad_()
    reward = rollout.imagine(model, tree.select(before.states, 0), acts, ()).transition.reward
    assert reward is not None
    (found,) = torch.autograd.grad(reward.sum(), acts)
    return found[:, 0, 0]


def pulled(model: Any, world: WorldState, along: Tensor) -> float:
    """How far clay below the widest gap is moved when that above is pulled for 0.2 s [m]."""
    x = (world.matter.position * along).sum(-1)[0]
    some = x.sort().values[len(x) * 3 // 10 : len(x) * 7 // 10]
    upper = x > some[some.diff().argmax()] + 1e-6
    moving = world.matter.velocity + 0.3 * upper[None, :, None] * along
    start = model.initial(1)
    acts = torch.zeros(5, 1, 1, 3)
    places = []
    for velocity in (world.matter.velocity, moving):
        begun = world._replace(matter=world.matter._replace(velocity=velocity))
        with torch.no_grad():
            end = rollout.imagine(model, start._replace(world=begun), acts, (), keep="last").states
        places.append(end.world.matter.position[0, 0])
    return float((places[1] - places[0])[~upper].norm(dim=-1).max())


def test_its_plan_parts_a_loaf_for_good() -> None:
    """When one part is pulled the other stays; of a whole loaf it comes along."""
    model, plan, end, done = judged(CUT, 0, 0.5)
    assert done == [True, False, False]
    along = torch.tensor([*model.task.along, 0.0])
    parted = tree.map(lambda x: x[:1], end)
    assert pulled(model, parted, along) < 1e-6
    assert pulled(model, model.initial(1).world, along) > 1e-3
    found = steep(model, plan, 16)
    assert bool(torch.isfinite(found).all()) and float(found.abs().amax(1).min()) > 1e-4


def test_its_plan_fills_the_mould() -> None:
    model, plan, _, done = judged(MOULD, 0, 0.9)
    assert done == [True, False, False]
    found = steep(model, plan, 12)
    assert bool(torch.isfinite(found).all()) and float(found.abs().amax(1).min()) > 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("seed", "difficulty"), ALL)
def test_every_plan_is_a_solution(name: str, seed: int, difficulty: float) -> None:
    assert judged(KINDS[name], seed, difficulty)[3][0]


def test_a_gap_is_wider_than_what_nodes_reach() -> None:
    assert min(CUT.draw(Draw(seed, 0.0))["gap"] for seed in range(20)) >= 3 * DX
