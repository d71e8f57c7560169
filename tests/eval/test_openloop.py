"""Open-loop errors against worlds whose future is known in closed form."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.core.model import Obs, Transition
from reverie.core.spec import Output, Spec
from reverie.eval.openloop import openloop
from tests.eval.worlds import POINT, Camera, Chunked, Filmed, Point, images, record


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


class Blind(Point):
    """The point that decodes nothing."""

    def __init__(self, provides: frozenset[Output]) -> None:
        super().__init__(spec=Spec(POINT.obs, POINT.action, dt=1.0, provides=provides))

    def decode(self, state: torch.Tensor) -> Obs:
        return {}


def test_a_model_of_rewards_alone_is_judged_by_them() -> None:
    found = openloop(Blind(frozenset({"reward"})), record(4, 8), observed=2, horizon=3)
    assert [sensor.name for sensor in found.sensors] == ["reward"]
    assert max(found.sensors[0].errors["mae"]["model"].mean) < 1e-6
    assert max(found.sensors[0].errors["mae"]["repeat"].mean) > 0.1


def test_a_model_that_predicts_neither_is_refused() -> None:
    with pytest.raises(ValueError, match="predicts obs"):
        openloop(Blind(frozenset({"continues"})), record(2, 8), observed=2, horizon=3)


def test_drift_is_how_fast_the_error_grows() -> None:
    found = openloop(Point(wrong=0.25), record(8, 9), observed=3, horizon=6).sensor("position")
    assert found.drift["model"].mean == pytest.approx(0, abs=1e-5)
    ahead = np.arange(1, 7) * 0.5
    x = record(8, 9).batch.obs["position"].double()[..., 0]
    errors = (x[:, 2:3] - x[:, 3:]).abs().mean(0).numpy()
    drift = found.drift["repeat"]
    assert drift.mean == pytest.approx(np.polyfit(ahead, errors, 1)[0], rel=1e-4)
    assert drift.low < drift.mean < drift.high


def test_the_end_of_an_episode_is_foreseen_or_not() -> None:
    class Ending(Point):
        def step(self, state: Tensor, action: Tensor, noise: Tensor) -> Transition[Tensor]:
            return (
                super()
                .step(state, action, noise)
                ._replace(continues=torch.full((len(state),), 0.75))
            )

    spec = replace(POINT, provides=POINT.provides | {"continues"})
    data = record(4, 6)
    ends = data.batch.terminated.clone()
    ends[:2, -1] = True
    data = data._replace(batch=data.batch._replace(terminated=ends, last=ends))
    errors = openloop(Ending(spec=spec), data, observed=2, horizon=4).sensor("continues").errors
    assert errors["mae"]["model"].mean == pytest.approx([0.25, 0.25, 0.25, 0.5])
    assert errors["mae"]["repeat"].mean == pytest.approx([0, 0, 0, 0.5])


def test_pictures_are_compared_by_their_structure_too() -> None:
    data = images([0, 0, 0, 255])
    found = openloop(Camera(), data, observed=2, horizon=2).sensor("camera")
    assert found.errors["ssim"]["repeat"].mean == pytest.approx([1, 1e-4], abs=1e-4)
    grey = (2 * 0.5 * 1 + 1e-4) / (0.5**2 + 1 + 1e-4)
    assert found.errors["ssim"]["model"].mean[1] == pytest.approx(grey, rel=1e-3)
