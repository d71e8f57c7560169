"""What the readout says is sensed is what the simulator senses, with its slope."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reverie.envs import EnvConfig
from reverie.recipes.twin_readout import features, fit
from reverie.recipes.twin_source import Source

pytest.importorskip("dm_control")


def phi(source: Source, moments: torch.Tensor) -> torch.Tensor:
    at = source.layout
    return features(
        source.bodies, moments[:, at.position], moments[:, at.velocity], moments[:, at.drawn]
    )


@pytest.mark.parametrize(
    "name",
    ["cartpole_swingup", "pendulum_swingup", "acrobot_swingup", "reacher_easy", "walker_run"],
)
def test_sensors_at_new_states_are_those_of_the_simulator(name: str) -> None:
    source = Source(EnvConfig(f"dmc:{name}"))
    readout = fit(source)
    moments = source.samples(50, seed=9)
    guess, truth = readout(phi(source, torch.from_numpy(moments))), source.sense(moments)
    assert set(guess) == set(truth)
    for sensor, seen in truth.items():
        assert guess[sensor].shape == seen.shape
        np.testing.assert_allclose(guess[sensor], seen, atol=1e-6)
        assert seen.std() > 0.1
        assert readout.missed[sensor] < 1e-12
    source.close()


def test_the_slope_of_a_sensor_is_that_of_differences_of_the_simulator() -> None:
    source = Source(EnvConfig("dmc:reacher_easy"))
    readout = fit(source)
    moment = source.samples(1, seed=3)
    for column in (1, 2):
        off = np.zeros_like(moment)
        off[:, column] = 1e-5
        ends = source.sense(np.concatenate([moment + off, moment - off]))
        slope = (ends["to_target"][0] - ends["to_target"][1]) / 2e-5

        def sensed(x: torch.Tensor) -> torch.Tensor:
            return readout(phi(source, x))["to_target"][0]

        jacobian = torch.autograd.functional.jacobian(sensed, torch.from_numpy(moment))
        np.testing.assert_allclose(jacobian[:, 0, column], slope, atol=1e-7)
        assert np.abs(slope).max() > 0.01
    source.close()


def test_a_sensor_that_is_not_linear_is_named_and_may_be_left_out() -> None:
    source = Source(EnvConfig("dmc:hopper_stand"))
    with pytest.raises(ValueError, match=r"touch \(1 - R\^2 .*sensors=\('position', 'velocity'\)"):
        fit(source)
    assert set(fit(source, ("velocity", "position")).spaces) == {"position", "velocity"}
    with pytest.raises(ValueError, match=r"not \['smell'\]"):
        fit(source, ("smell",))
    source.close()
