"""Open-loop errors against worlds whose future is known in closed form."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.core.model import Batch, Obs, Transition
from reverie.core.spec import Space, Spec
from reverie.eval.openloop import openloop
from reverie.eval.predict import predict
from reverie.eval.score import Curve, OpenLoop, SensorError
from reverie.eval.windows import Windows

POINT = Spec(
    obs={"position": Space((1,), unit="m"), "still": Space((2,))},
    action=Space((1,)),
    dt=0.5,
    provides=frozenset({"obs", "reward"}),
)


class Point:
    """x' = x + v, v' = v + a, reward x'; `wrong` is added to what it predicts, `jitter` is the
    scale of its noise. The state remembers when it was last told where it is."""

    def __init__(self, wrong: float = 0.0, jitter: float = 0.0, spec: Spec = POINT) -> None:
        self.spec, self.wrong, self.jitter = spec, wrong, jitter

    def initial(self, batch: int, context: Obs | None = None) -> Tensor:
        return torch.zeros(batch, 2)

    def noise(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(batch, 1, generator=generator) * self.jitter

    def observe(
        self, state: Tensor, action: Tensor, obs: Obs, first: Tensor, noise: Tensor
    ) -> Tensor:
        x = obs["position"]
        v = torch.where(first[:, None], torch.zeros_like(x), x - state[:, :1] + action[:, -1])
        return torch.cat([x, v], 1)

    def step(self, state: Tensor, action: Tensor, noise: Tensor) -> Transition[Tensor]:
        x, v, total = state[:, :1], state[:, 1:], 0.0
        for a in action.unbind(1):
            x, v = x + v, v + a
            total = total + x[:, 0]
        return Transition(torch.cat([x, v], 1), reward=total + noise[:, 0])

    def decode(self, state: Tensor) -> Obs:
        return {"position": state[:, :1] + self.wrong, "still": torch.ones(len(state), 2)}


def record(windows: int, rows: int, seed: int = 0) -> Windows:
    """Windows of the point under random actions, each from its own episode."""
    generator = torch.Generator().manual_seed(seed)
    action = torch.randn(windows, rows, 1, generator=generator)
    action[:, 0] = 0
    x, v = torch.randn(windows, 1, generator=generator), torch.zeros(windows, 1)
    xs = [x]
    for t in range(1, rows):
        x, v = x + v, v + action[:, t]
        xs.append(x)
    position = torch.stack(xs, 1)
    flags = torch.zeros(windows, rows, dtype=torch.bool)
    first = flags.clone()
    first[:, 0] = True
    reward = position[..., 0].clone()
    reward[:, 0] = 0
    obs = {"position": position, "still": torch.ones(windows, rows, 2)}
    return Windows(Batch(obs, action, reward, first, flags, flags), torch.arange(windows))


def test_a_perfect_model_makes_no_error_and_the_baselines_make_theirs() -> None:
    data = record(12, 14)
    found = openloop(Point(), data, observed=4, horizon=10, at_once=5)
    position = found.sensor("position")
    x = data.batch.obs["position"].double()[..., 0]
    ahead = torch.arange(1, 11)
    repeat = (x[:, 3:4] - x[:, 4:]).abs().mean(0)
    line = x[:, 3:4] + ahead * (x[:, 3:4] - x[:, 2:3])
    assert position.steps == tuple(range(1, 11))
    assert max(position.errors["mae"]["model"].mean) < 1e-5
    assert position.errors["mae"]["repeat"].mean == pytest.approx(repeat.tolist(), rel=1e-4)
    expected = (line - x[:, 4:]).square().mean(0).sqrt()
    assert position.errors["rmse"]["linear"].mean == pytest.approx(expected.tolist(), rel=1e-4)
    scaled = (x[:, 3:4] - x[:, 4:]).square().mean(0).sqrt() / x.std(correction=0)
    assert position.errors["nrmse"]["repeat"].mean == pytest.approx(scaled.tolist(), rel=1e-4)
    curve = position.errors["mae"]["repeat"]
    assert all(lo < m < hi for lo, m, hi in zip(curve.low, curve.mean, curve.high, strict=True))
    assert max(found.sensor("reward").errors["mae"]["model"].mean) < 1e-5
    assert min(found.sensor("reward").errors["mae"]["repeat"].mean) > 0.1
    assert found.sensor("still").errors["nrmse"]["repeat"].mean == pytest.approx(
        [math.nan] * 10, nan_ok=True
    )
    assert (found.windows, found.episodes, found.dt) == (12, 12, 0.5)


def test_a_constant_error_is_reported_in_the_unit_of_the_sensor() -> None:
    found = openloop(Point(wrong=0.25), record(6, 9), observed=3, horizon=6)
    position = found.sensor("position")
    assert position.unit == "m"
    assert position.errors["mae"]["model"].mean == pytest.approx([0.25] * 6, rel=1e-4)
    assert position.errors["rmse"]["model"].mean == pytest.approx([0.25] * 6, rel=1e-4)


def test_the_mean_of_many_samples_is_nearer_than_one_sample() -> None:
    generator = torch.Generator().manual_seed(1)
    data = record(40, 6)
    found = openloop(
        Point(jitter=2.0), data, observed=2, horizon=4, samples=16, generator=generator
    )
    errors = found.sensor("reward").errors["rmse"]
    assert errors["model"].mean == pytest.approx([2.0] * 4, rel=0.12)
    assert errors["model_mean"].mean == pytest.approx([0.5] * 4, rel=0.35)
    assert found.samples == 16


def test_noise_comes_from_the_generator_alone() -> None:
    data = record(3, 8)

    def once(seed: int) -> Tensor | None:
        generator = torch.Generator().manual_seed(seed)
        model = Point(jitter=1.0)
        batch = data.batch
        return predict(model, batch, observed=2, horizon=6, samples=2, generator=generator).reward

    torch.testing.assert_close(once(0), once(0), rtol=0, atol=0)
    assert (once(0) - once(1)).abs().max() > 0.1


def test_predictions_do_not_see_the_future() -> None:
    data = record(3, 12)
    before = predict(Point(), data.batch, observed=4, horizon=8)
    data.batch.obs["position"][:, 4:] = 99.0
    after = predict(Point(), data.batch, observed=4, horizon=8)
    torch.testing.assert_close(before.obs["position"], after.obs["position"], rtol=0, atol=0)
    assert before.seen["position"].shape == (1, 3, 4, 1)
    assert before.obs["position"].shape == (1, 3, 8, 1)


def test_samples_belong_to_their_window() -> None:
    data = record(5, 10)
    one = predict(Point(), data.batch, observed=4, horizon=6)
    many = predict(Point(), data.batch, observed=4, horizon=6, samples=3)
    for k in range(3):
        torch.testing.assert_close(many.obs["position"][k], one.obs["position"][0])
        torch.testing.assert_close(many.seen["position"][k], one.seen["position"][0])


CHUNKED = Spec(obs=POINT.obs, action=POINT.action, dt=0.5, chunk=3, provides=POINT.provides)


class Chunked(Point):
    """The point told its position and speed every third row only."""

    def __init__(self) -> None:
        super().__init__(spec=CHUNKED)

    def observe(
        self, state: Tensor, action: Tensor, obs: Obs, first: Tensor, noise: Tensor
    ) -> Tensor:
        guess = self.step(state, action, torch.zeros(len(action), 1)).state
        return torch.where(first[:, None], torch.cat([obs["position"], 0 * state[:, 1:]], 1), guess)


class Filmed(Chunked):
    def frames(self, before: Tensor, transition: Transition[Any]) -> Obs:
        """Every row of a chunk; the action is not needed for positions up to the last but one."""
        x, v = before[:, :1], before[:, 1:]
        end = transition.state
        return {"position": torch.stack([x + v, end[:, :1] - end[:, 1:], end[:, :1]], 1)}


def test_a_chunked_model_is_scored_where_it_predicts() -> None:
    data = record(4, 13)
    found = openloop(Chunked(), data, observed=4, horizon=9)
    assert found.sensor("position").steps == (3, 6, 9)
    assert max(found.sensor("position").errors["mae"]["model"].mean) < 1e-4
    assert found.sensor("reward").steps == (3, 6, 9)
    assert max(found.sensor("reward").errors["mae"]["model"].mean) < 1e-4
    with pytest.raises(ValueError, match="multiples of 3"):
        openloop(Chunked(), data, observed=5, horizon=6)


def test_a_clip_is_scored_row_by_row() -> None:
    data = record(4, 13)
    found = openloop(Filmed(), data, observed=4, horizon=9).sensor("position")
    assert found.steps == tuple(range(1, 10))
    mae = found.errors["mae"]["model"].mean
    assert max(mae[0::3] + mae[2::3]) < 1e-4


class Camera:
    """Predicts a grey of 0.5 everywhere."""

    spec = Spec(
        obs={"camera": Space((1, 2, 3), dtype="uint8"), "text": Space((2,), dtype="int64")},
        action=Space((1,)),
        dt=0.1,
        provides=frozenset({"obs"}),
    )

    def initial(self, batch: int, context: Obs | None = None) -> Tensor:
        return torch.zeros(batch, 1)

    def noise(self, batch: int, generator: torch.Generator | None = None) -> tuple[()]:
        return ()

    def observe(self, state: Tensor, action: Tensor, obs: Obs, first: Tensor, noise: Any) -> Tensor:
        return state

    def step(self, state: Tensor, action: Tensor, noise: Any) -> Transition[Tensor]:
        return Transition(state)

    def decode(self, state: Tensor) -> Obs:
        grey = torch.full((len(state), 1, 2, 3), 0.5)
        return {"camera": grey, "text": torch.zeros(len(state), 2, dtype=torch.int64)}


def images(levels: list[int], windows: int = 3) -> Windows:
    """Uniform pictures of the given grey levels."""
    rows = len(levels)
    picture = torch.tensor(levels, dtype=torch.uint8).reshape(1, rows, 1, 1, 1)
    flags = torch.zeros(windows, rows, dtype=torch.bool)
    obs = {
        "camera": picture.expand(windows, rows, 1, 2, 3).clone(),
        "text": torch.zeros(windows, rows, 2, dtype=torch.int64),
    }
    batch = Batch(obs, torch.zeros(windows, rows, 1), flags.float(), flags, flags, flags)
    return Windows(batch, torch.arange(windows))


def test_images_are_scored_in_decibel_of_the_mean_squared_error() -> None:
    found = openloop(Camera(), images([0, 0, 255, 51, 0]), observed=2, horizon=3)
    assert [s.name for s in found.sensors] == ["camera"]
    camera = found.sensor("camera")
    expected = [0.25, 0.09, 0.25]
    assert camera.errors["mse"]["model"].mean == pytest.approx(expected)
    assert camera.errors["psnr"]["model"].mean == pytest.approx(
        [-10 * math.log10(e) for e in expected]
    )
    assert camera.errors["psnr"]["repeat"].mean == pytest.approx([0, -10 * math.log10(0.04), 100])
    assert "linear" not in camera.errors["mse"]


def test_rows_in_which_a_sensor_was_missing_do_not_count() -> None:
    data = record(8, 8)
    present = torch.ones(8, 8, dtype=torch.bool)
    present[:4, 5] = False  # four windows lack one target
    present[:, 6] = False  # nobody has this one
    present[7, 3] = False  # one window has no last observation to repeat
    position = data.batch.obs["position"]
    position[~present] = 1e6
    data.batch.obs["position.present"] = present
    found = openloop(Point(), data, observed=4, horizon=4)
    repeat = found.sensor("position").errors["mae"]["repeat"]
    x = position[..., 0]
    assert repeat.mean[1] == pytest.approx(float((x[4:7, 5] - x[4:7, 3]).abs().mean()), rel=1e-4)
    assert math.isnan(repeat.mean[2])
    assert math.isnan(repeat.low[2])
    assert max(repeat.mean[0], repeat.mean[3]) < 100


def test_windows_over_an_episode_end_are_refused() -> None:
    data = record(2, 8)
    data.batch.first[1, 5] = True
    with pytest.raises(ValueError, match="crosses the end of an episode"):
        openloop(Point(), data, observed=3, horizon=5)
    openloop(Point(), data, observed=2, horizon=3)
    with pytest.raises(ValueError, match="need 9"):
        openloop(Point(), data, observed=4, horizon=5)


def test_a_recording_without_a_sensor_of_the_model_is_refused() -> None:
    data = record(2, 8)
    del data.batch.obs["still"]
    with pytest.raises(ValueError, match="lacks still"):
        openloop(Point(), data, observed=3, horizon=5)


def test_a_model_without_observations_is_refused() -> None:
    spec = Spec(obs=POINT.obs, action=POINT.action, dt=1.0, provides=frozenset({"reward"}))
    with pytest.raises(ValueError, match="predicts obs"):
        openloop(Point(spec=spec), record(2, 8), observed=2, horizon=3)


def test_result_survives_json() -> None:
    found = openloop(Point(), record(1, 8), observed=3, horizon=5)  # one episode: no interval
    text = json.dumps(found.to_json(), allow_nan=False)
    again = OpenLoop.from_json(json.loads(text))
    assert math.isnan(again.sensor("position").errors["mae"]["model"].low[0])
    assert json.dumps(again.to_json()) == text
    np.testing.assert_array_equal(
        again.sensor("position").errors["mae"]["repeat"].mean,
        found.sensor("position").errors["mae"]["repeat"].mean,
    )


def test_a_curve_of_the_wrong_length_is_refused() -> None:
    curve = Curve((1.0,), (0.5,), (1.5,))
    with pytest.raises(ValueError, match="1 points for 2 steps"):
        SensorError("x", "vector", "m", (1, 2), {"mae": {"model": curve}})
