"""What is filmed is what happened; what is imagined starts there and follows the same actions."""

from typing import Any

import numpy as np
import pytest
import torch

from reverie.core.spec import Space
from reverie.envs import RenderError, Row, make
from reverie.learn.device import Device
from reverie.viz.film import Film, replay, shoot
from tests.viz.worlds import Memory, Swing, TruePendulum

CPU = Device(torch.device("cpu"))


def film(env: Any, model: Any, **options: Any) -> Film:
    choices = {"device": CPU, "seed": 1, "observed": 6, "horizon": 24, "size": (30, 40)}
    return shoot(env, Swing(), model, **{**choices, **options})


def test_a_right_model_imagines_what_happens() -> None:
    env = make("toy:pendulum")
    found = film(env, TruePendulum(env))
    assert [t.label for t in found.traces] == [
        "orientation 1",
        "orientation 2",
        "velocity",
        "reward",
    ]
    assert found.traces[2].unit == "rad/s"
    for trace in found.traces:
        assert trace.real.shape == trace.imagined.shape == (30,)
        np.testing.assert_allclose(trace.imagined[6:], trace.real[6:], atol=1e-4)
        assert np.ptp(trace.real) > 0.01
    assert np.isnan(found.traces[3].imagined[:6]).all()
    assert found.real is not None
    assert found.real.shape == (30, 30, 40, 3)
    assert found.imagined is None
    assert "curves" in found.notes[0]
    env.reset(1)
    np.testing.assert_array_equal(found.real[0], env.render(30, 40))


def test_a_model_that_remembers_stands_still_from_where_it_was_left_alone() -> None:
    env = make("toy:pendulum")
    found = film(env, Memory(env.obs, env.action, env.dt))
    velocity = found.traces[2]
    np.testing.assert_array_equal(velocity.imagined[:6], velocity.real[:6])
    np.testing.assert_array_equal(velocity.imagined[6:], np.full(24, velocity.real[5]))


def test_a_chunked_model_holds_what_it_knows() -> None:
    env = make("toy:pendulum")
    found = film(env, Memory(env.obs, env.action, env.dt, chunk=3), observed=7, horizon=9)
    velocity = found.traces[2]
    np.testing.assert_array_equal(
        velocity.imagined[:7], velocity.real[[0, 0, 0, 3, 3, 3, 6]].astype(np.float32)
    )
    assert found.rows == 16


def test_a_camera_is_shown_as_the_model_sees_it() -> None:
    env = make("toy:pendulum", pixels=True, size=(16, 16))
    found = film(env, Memory(env.obs, env.action, env.dt))
    assert found.real is not None
    assert found.imagined is not None
    assert found.real.shape == found.imagined.shape == (30, 16, 16, 3)
    np.testing.assert_array_equal(found.imagined[:6], found.real[:6])
    np.testing.assert_array_equal(found.imagined[20], found.real[5])
    assert found.rows == 30
    assert found.traces == ()


def test_frames_are_as_many_as_asked_for() -> None:
    env = make("toy:pendulum")  # 20 rows a second
    found = film(env, TruePendulum(env), fps=5)
    assert found.shown == (0, 4, 8, 12, 16, 20, 24, 28)
    assert found.real is not None
    assert len(found.real) == 8


def test_the_simulated_robot_is_posed_as_imagined() -> None:
    pytest.importorskip("dm_control")
    env = make("dmc:cartpole_swingup", repeat=2)
    physics = env.simulator.env.physics

    def render(height: int = 240, width: int = 320) -> np.ndarray:
        """A picture whose grey is where the cart stands, so that no GL library is needed."""
        grey = np.clip(128 + 60 * physics.data.xpos[1, 0], 0, 255)
        return np.full((height, width, 3), round(float(grey)), np.uint8)

    env.render = render
    before = env.reset(1).obs["position"][0]
    found = film(env, Memory(env.obs, env.action, env.dt), observed=10, horizon=40)
    assert found.real is not None
    assert found.imagined is not None
    carts = found.traces[0]
    assert carts.real[0] == pytest.approx(before)
    expected = np.round(128 + 60 * carts.real[list(found.shown)])
    np.testing.assert_allclose(found.real[:, 0, 0, 0], expected, atol=1)
    expected = np.round(128 + 60 * carts.imagined[list(found.shown)])
    np.testing.assert_allclose(found.imagined[:, 0, 0, 0], expected, atol=1)
    assert np.ptp(found.real) > 3
    assert found.notes == ()
    env.close()


def test_without_a_gl_library_the_film_has_curves_and_says_what_is_lacking() -> None:
    env = make("toy:pendulum")

    def render(height: int = 240, width: int = 320) -> np.ndarray:
        raise RenderError("No OpenGL library to draw with; apt install libegl1.")

    env.render = render
    found = film(env, TruePendulum(env))
    assert found.real is None
    assert found.imagined is None
    assert len(found.traces) == 4
    assert "apt install libegl1" in found.notes[0]


class Short:
    """Ends after 9 rows."""

    name, dt, repeat, repeatable = "own:short", 0.1, 1, True
    obs = {"x": Space((1,))}
    action = Space((1,), low=-1.0, high=1.0)

    def reset(self, seed: int) -> Row:
        self.t = 0
        return self.row()

    def step(self, action: np.ndarray) -> Row:
        self.t += 1
        return self.row()

    def row(self) -> Row:
        x = np.array([self.t], np.float32)
        return Row({"x": x}, 1.0, self.t == 0, self.t == 8, False)

    def render(self, height: int = 240, width: int = 320) -> np.ndarray:
        return np.zeros((height, width, 3), np.uint8)

    def close(self) -> None:
        pass


def test_an_episode_that_ends_early_makes_a_shorter_film() -> None:
    env = Short()
    model = Memory(env.obs, env.action, env.dt)
    assert film(env, model).rows == 9
    with pytest.raises(ValueError, match="too few to watch 9"):
        film(env, model, observed=9)


def recorded(env: Any, count: int) -> dict[str, Any]:
    rows, actions = [env.reset(1)], [np.zeros(1, np.float32)]
    for k in range(count - 1):
        actions.append(np.array([np.sin(k)], np.float32))
        rows.append(env.step(actions[-1]))
    names = ("reward", "first", "last", "terminated")
    flags = {name: np.array([getattr(row, name) for row in rows]) for name in names}
    seen = {name: np.stack([row.obs[name] for row in rows]) for name in env.obs}
    return {**seen, **flags, "action": np.stack(actions)}


def test_a_recorded_episode_is_filmed_without_anybody_acting() -> None:
    env = make("toy:pendulum")
    rows = recorded(env, 20)
    options = {"name": "data", "device": CPU, "observed": 6}
    found = replay(rows, TruePendulum(env), horizon=50, **options)
    assert (found.name, found.observed, found.rows) == ("data", 6, 20)
    np.testing.assert_array_equal(found.traces[2].real, rows["velocity"][:, 0].astype(float))
    for trace in found.traces:
        np.testing.assert_allclose(trace.imagined[6:], trace.real[6:], atol=1e-4)
    assert found.real is None and found.imagined is None and "curves" in found.notes[0]
    with pytest.raises(ValueError, match="The episode data has 20 rows, too few to watch 20"):
        replay(rows, TruePendulum(env), horizon=5, **{**options, "observed": 20})


def test_a_recorded_camera_is_shown() -> None:
    env = make("toy:pendulum", pixels=True, size=(16, 16))
    rows, model = recorded(env, 12), Memory(env.obs, env.action, env.dt)
    found = replay(rows, model, name="data", device=CPU, observed=4, horizon=6)
    assert found.real is not None and found.imagined is not None
    np.testing.assert_array_equal(found.real, np.moveaxis(rows["image"][:10], 1, -1))
    np.testing.assert_array_equal(found.imagined[4:], np.repeat(found.real[3:4], 6, 0))
