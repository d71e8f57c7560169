"""Noise to frames along straight lines, against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reverie.models.unisim.flow import advance, blend, sample

X, E = (torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(i)) for i in range(2))


def test_a_blend_lies_on_the_line_from_noise_to_frame() -> None:
    x, e = torch.randn(2, 5, 3, 4, 4), torch.randn(2, 5, 3, 4, 4)
    level = torch.rand(2, 5)
    level[0, 0], level[1, 1] = 0, 1
    z = blend(x, e, level)
    for b in range(2):
        for t in range(5):
            expected = (1 - level[b, t]) * e[b, t] + level[b, t] * x[b, t]
            torch.testing.assert_close(z[b, t], expected)
    assert torch.equal(z[0, 0], e[0, 0])
    torch.testing.assert_close(z[1, 1], x[1, 1])


def test_a_step_towards_the_true_frame_stays_on_the_line() -> None:
    level, step = torch.tensor([0.25, 0.5]), torch.tensor([0.125, 0.25])
    z = advance(blend(X, E, level), X, level, step)
    torch.testing.assert_close(z, blend(X, E, level + step))


def test_a_step_is_d_times_the_velocity() -> None:
    z, level, step = torch.randn(2, 3, 4, 5), torch.tensor([0.0, 0.6]), torch.tensor([0.5, 0.1])
    rate = (X - z) / (1 - level).view(2, 1, 1, 1)
    torch.testing.assert_close(advance(z, X, level, step), z + step.view(2, 1, 1, 1) * rate)


def test_a_step_over_all_that_is_left_or_more_is_the_prediction() -> None:
    level, step = torch.tensor([0.75, 1.0]), torch.tensor([0.25, 0.25])
    torch.testing.assert_close(advance(E, X, level, step), X)
    torch.testing.assert_close(advance(E, X, level, 2 * step), X)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8])
def test_who_knows_the_frame_gets_it_in_any_number_of_steps(steps: int) -> None:
    calls = list[tuple[Tensor, float, float]]()

    def perfect(z: Tensor, level: float, step: float) -> Tensor:
        calls.append((z, level, step))
        return X

    torch.testing.assert_close(sample(perfect, E, steps), X)
    assert [call[1:] for call in calls] == [(k / steps, 1 / steps) for k in range(steps)]
    for z, level, _ in calls:
        torch.testing.assert_close(z, blend(X, E, torch.full((2,), level)))


MEAN, DEVIATION = 0.7, 0.3


def posterior(z: Tensor, level: float, step: float) -> Tensor:
    """E[x | z] of x ~ N(MEAN, DEVIATION^2), z = (1 - tau) e + tau x."""
    variance = (level * DEVIATION) ** 2 + (1 - level) ** 2
    return MEAN + level * DEVIATION**2 / variance * (z - level * MEAN)


def test_many_steps_draw_from_the_distribution_and_one_gives_its_mean() -> None:
    noise = torch.randn(20_000, 1, 1, 1, dtype=torch.float64)
    drawn = sample(posterior, noise, 400)
    assert drawn.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert drawn.std().item() == pytest.approx(DEVIATION, rel=0.02)
    # the flow of a normal distribution is x = MEAN + DEVIATION e
    torch.testing.assert_close(drawn, MEAN + DEVIATION * noise, atol=0.01, rtol=0)
    torch.testing.assert_close(sample(posterior, noise, 1), torch.full_like(noise, MEAN))
    few = [sample(posterior, noise, n).std().item() for n in (1, 2, 4, 8, 16)]
    assert few == sorted(few)
    assert few[-1] < DEVIATION
