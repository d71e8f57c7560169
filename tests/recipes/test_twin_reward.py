"""The reward at predicted states, against the formula of the task, and its slope."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.envs import EnvConfig
from reverie.recipes.twin_reward import asked, joined
from reverie.recipes.twin_source import Layout, Source

pytest.importorskip("dm_control")


@pytest.fixture(scope="module")
def source() -> Iterator[Source]:
    made = Source(EnvConfig("dmc:cartpole_swingup"))
    yield made
    made.close()


def bell(x: Tensor, margin: float) -> Tensor:
    """`dm_control.utils.rewards.tolerance` around 0: 0.1 at the margin."""
    return (math.log(0.1) * (x / margin).square()).exp()


def formula(position: Tensor, velocity: Tensor, control: Tensor) -> Tensor:
    """The smooth reward of `dm_control.suite.cartpole`."""
    upright = (position[:, 1].cos() + 1) / 2
    centred = (1 + bell(position[:, 0], 2)) / 2
    calm = (4 + (1 - control[:, 0].square())) / 5
    slow = (1 + bell(velocity[:, 1], 5)) / 2
    return upright * centred * calm * slow


def moments(source: Source) -> list[Tensor]:
    """Positions, velocities, nothing drawn, controls, and the rest."""
    drawn = torch.from_numpy(source.samples(6, seed=1))
    at = source.layout
    rest = torch.cat([drawn[:, : at.position.start], drawn[:, at.velocity.stop :]], 1)
    control = torch.linspace(-0.9, 0.9, 6, dtype=torch.float64)[:, None]
    parts = [drawn[:, at.position], drawn[:, at.velocity], drawn[:, at.drawn], control]
    return [*(x.clone().requires_grad_() for x in parts), rest]


def test_value_and_slope_are_those_of_the_formula(source: Source) -> None:
    position, velocity, drawn, control, rest = moments(source)
    reward = asked(source, position, velocity, drawn, control, rest)
    expected = formula(position, velocity, control)
    torch.testing.assert_close(reward, expected, atol=1e-9, rtol=1e-9)
    weight = torch.arange(1.0, 7.0, dtype=torch.float64)
    given = (position, velocity, control)
    found = torch.autograd.grad((weight * reward).sum(), given)
    for slope, truth in zip(
        found, torch.autograd.grad((weight * expected).sum(), given), strict=True
    ):
        torch.testing.assert_close(slope, truth, atol=1e-7, rtol=1e-7)
        assert truth.abs().max() > 0.1


class Drawing:
    """A source whose reward is x0 d1 + u0^2 over vectors (time, q0, v0, d0, d1)."""

    layout = Layout(slice(1, 2), slice(2, 3), slice(3, 5), 5)

    def reward(self, vectors: np.ndarray, controls: np.ndarray) -> np.ndarray:
        return np.asarray(vectors[:, 1] * vectors[:, 4] + controls[:, 0] ** 2)


def test_what_the_task_draws_has_a_slope_too() -> None:
    parts = [
        torch.tensor(x, dtype=torch.float64, requires_grad=True)
        for x in ([[3.0]], [[0.5]], [[1.0, 2.0]], [[0.25]])
    ]
    rest = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64)
    reward = asked(cast(Any, Drawing()), *parts, rest)
    assert reward.tolist() == [3.0 * 2.0 + 0.25**2]
    slopes = torch.autograd.grad(reward.sum(), parts)
    expected = ([2.0], [0.0], [0.0, 3.0], [0.5])
    for slope, truth in zip(slopes, expected, strict=True):
        assert slope[0].tolist() == pytest.approx(truth, abs=1e-8)


def test_the_vector_is_put_together_as_it_was(source: Source) -> None:
    whole = torch.from_numpy(source.samples(2))
    at = source.layout
    rest = torch.cat([whole[:, : at.position.start], whole[:, at.velocity.stop :]], 1)
    again = joined(source, whole[:, at.position], whole[:, at.velocity], rest)
    assert torch.equal(again, whole)
