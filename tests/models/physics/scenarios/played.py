"""What the tests of kinds of scenarios share: plans are played, spaces and gradients looked at."""

from typing import Any

import torch
from torch import Tensor

from reverie.core import rollout, tree
from reverie.models.physics.model import Physics, PhysicsState
from reverie.models.physics.scenarios.scenario import Draw, Kind, Scene, begin, world_model


def made(kind: Kind, seed: int, difficulty: float) -> tuple[dict[str, Any], Scene]:
    numbers = kind.draw(Draw(seed, difficulty))
    return numbers, kind.scene(numbers)


def modelled(kind: Kind, seed: int, difficulty: float) -> tuple[dict[str, Any], Physics]:
    numbers, scene = made(kind, seed, difficulty)
    return numbers, world_model(scene)


@torch.no_grad()
def solves(model: Physics, plan: Tensor) -> bool:
    """Whether a plan does the task."""
    start = model.initial(1)
    end = rollout.imagine(model, start, plan[:, None, None], (), keep="last").states
    done: Tensor = model.task.success(tree.select(end, 0).world, start.context)  # type: ignore[union-attr]
    return bool(done)


def solved(kind: Kind, seed: int, difficulty: float) -> tuple[bool, bool]:
    """Whether the plan solves it, and whether doing nothing does."""
    numbers, scene = made(kind, seed, difficulty)
    model = world_model(scene)
    assert kind.plan is not None
    plan = kind.plan(model, numbers)
    assert plan.shape == (scene.limit, model.spec.action.size)
    assert float(plan.abs().max()) <= 1
    plans = torch.stack([plan, torch.zeros_like(plan)], 1).unsqueeze(2)
    with torch.no_grad():
        state = rollout.imagine(model, begin(model, scene, 2), plans, (), keep="last").states
    end: PhysicsState = tree.select(state, 0)
    done = scene.task.success(end.world, end.context)
    return bool(done[0]), bool(done[1])


def spaces(kind: Kind) -> set[Any]:
    """What differs between scenes of the kind in what is seen and done: one entry, if nothing."""
    found = set()
    for seed, difficulty in ((0, 0.0), (1, 0.3), (2, 0.5), (3, 0.7), (4, 1.0)):
        model = world_model(made(kind, seed, difficulty)[1])
        senses = tuple((name, space.shape) for name, space in model.spec.obs.items())
        context = tuple((name, space.shape) for name, space in model.spec.context.items())
        found.add((senses, context, model.spec.action.size, model.feature_size))
    return found


def slope(kind: Kind, decisions: slice) -> Tensor:
    """The gradient of the summed reward to these actions of the plan of one scene."""
    numbers, scene = made(kind, 0, 0.3)
    model = world_model(scene)
    assert kind.plan is not None
    plan = kind.plan(model, numbers)
    with torch.no_grad():
        acts = plan[: decisions.start, None, None]
        state = begin(model, scene, 1)
        if len(acts):
            state = tree.select(rollout.imagine(model, state, acts, (), keep="last").states, 0)
    some = plan[decisions, None, None].clone().requires_grad_()
    rewards = rollout.imagine(model, state, some, ()).transition.reward
    assert rewards is not None
    (found,) = torch.autograd.grad(rewards.sum(), some)
    return found[:, 0, 0]


def put(scene: Scene, places: dict[str, tuple[float, ...]]) -> PhysicsState:
    """The start, with joints (and free bodies) at other places."""
    state = world_model(scene).initial(1)
    robot = scene.world.robot
    assert robot is not None
    q = state.world.robot.position.clone()
    for name, place in places.items():
        (first,) = (j.position for j in robot.model.joints if j.name == name)
        q[0, first : first + len(place)] = torch.tensor(place)
    return state._replace(world=state.world._replace(robot=state.world.robot._replace(position=q)))


def done(scene: Scene, places: dict[str, tuple[float, ...]]) -> bool:
    """Success there."""
    state = put(scene, places)
    return bool(scene.task.success(state.world, state.context))
