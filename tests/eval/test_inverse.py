"""Recovery of the action from what models of a known world imagine."""

import json
import math

import numpy as np
import pytest
import torch

from reverie.core.spec import Space
from reverie.eval.inverse import Inverse, Regressor, coarse, folds, inverse
from tests.eval.known import Known, System, record
from tests.eval.worlds import Chunked, Point
from tests.eval.worlds import record as play

SYSTEM = System()
DATA = record(SYSTEM, 60, 9)


def judged(model: Known, samples: int = 1) -> Inverse:
    generator = torch.Generator().manual_seed(0)
    wanted = {"observed": 2, "horizon": 7, "samples": samples, "at_once": 25}
    return inverse(model, DATA, generator=generator, **wanted)


def test_the_true_law_gives_back_as_much_of_the_action_as_the_world_does() -> None:
    found = judged(Known()).sensor("position")
    noise, push = SYSTEM.sigma**2, SYSTEM.gain**2 / 3
    ceiling = push / (push + noise)  # R^2 of the best linear guess of a from gain a + noise
    assert found.real[0] == pytest.approx(ceiling, abs=0.04)
    assert found.real[1] < found.real[0] < found.real[2]
    assert found.verdict.answer == "recovered"
    assert found.verdict.value == pytest.approx(1.0, abs=0.08)
    assert found.transitions == 60 * 8


@pytest.mark.parametrize("model", [Known(ignore_action=True), Known(constant=True)])
def test_an_ignored_action_is_lost(model: Known) -> None:
    found = judged(model).sensor("position")
    assert found.verdict.answer == "lost"
    assert found.verdict.high < 0.2


def test_all_samples_count() -> None:
    found = judged(Known(), samples=3).sensor("position")
    assert found.verdict.value == pytest.approx(1.0, abs=0.08)


def test_where_the_world_hides_the_action_nothing_can_be_asked() -> None:
    deaf = System(gain=0.07)
    found = inverse(Known(deaf), record(deaf, 150, 9), observed=2, horizon=7)
    assert {s.verdict.answer for s in found.sensors} == {"cannot be told"}
    assert found.sensor("position").real[0] < 0.2
    assert found.sensor("position").verdict.low > 0.5  # of next to nothing
    alone = inverse(Known(), record(SYSTEM, 1, 9, each=3), observed=2, horizon=7)
    assert alone.sensor("position").verdict.answer == "cannot be told"
    assert math.isnan(alone.sensor("position").real[0])
    assert json.loads(json.dumps(alone.to_json()))["sensors"][0]["real"] == [None] * 3


def test_pictures_show_the_action_too() -> None:
    data = record(SYSTEM, 60, 9, vector=False)
    verdicts = [
        inverse(m, data, observed=1, horizon=8).sensor("camera").verdict.answer
        for m in (Known(spread=0, vector=False), Known(ignore_action=True, vector=False))
    ]
    assert verdicts == ["recovered", "lost"]


def test_three_rows_show_an_acceleration_that_two_do_not() -> None:
    data = play(60, 12)  # x' = x + v, v' = v + a: rows t, t + 1, t + 2 tell the action to t + 1
    data.batch.action[:, 1:] = data.batch.action[:, :-1].clone()  # that of the row before
    two, three = (
        inverse(Point(), data, observed=3, horizon=9, rows=r).sensor("position") for r in (2, 3)
    )
    assert two.real[2] < 0.7
    assert three.real[0] > 0.99


def test_chunks_give_back_all_their_actions() -> None:
    found = inverse(Chunked(), play(60, 13), observed=1, horizon=12, rows=3)
    assert found.sensor("position").transitions == 60 * 3
    with pytest.raises(ValueError, match="at least 9"):
        inverse(Chunked(), play(4, 13), observed=1, horizon=6, rows=3)


def test_a_sensor_that_was_missing_is_not_asked() -> None:
    data = record(SYSTEM, 40, 9)
    present = torch.ones(40, 9, dtype=torch.bool)
    present[:, 5] = False
    data.batch.obs["position.present"] = present
    data.batch.obs["position"][:, 5] = 1e4
    found = inverse(Known(), data, observed=2, horizon=7).sensor("position")
    assert found.transitions == 40 * 6
    assert found.verdict.answer == "recovered"


def test_regression_finds_a_line_and_bends_where_the_data_does() -> None:
    x = torch.randn(300, 3)
    line = x @ torch.randn(3, 2) + torch.tensor([5.0, -7.0])
    assert torch.allclose(Regressor.fit(x, line)(x).float(), line, atol=2e-3)
    bend = x[:, :1].abs()
    wrong = (Regressor.fit(x[:200], bend[:200])(x[200:]) - bend[200:]).square().mean()
    assert float(wrong / bend.var()) < 0.05


def test_regression_on_noise_falls_back_to_the_mean() -> None:
    x, y = torch.randn(60, 40), torch.randn(60, 1)
    wild = Regressor.fit(x, y)(torch.randn(500, 40))
    assert float(wild.std()) < 0.35
    assert float(Regressor.fit(torch.ones(5, 2), y[:5])(torch.ones(1, 2))) == pytest.approx(
        float(y[:5].mean())
    )


def test_regression_on_few_noisy_rows_does_not_pass_through_them() -> None:
    wrong = []
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        x, noise = (torch.randn(512, n, generator=generator) for n in (10, 1))
        fitted = Regressor.fit(x[:12], x[:12, :1] + 3 * noise[:12])
        wrong.append(float((fitted(x[12:]) - x[12:, :1]).square().mean()))
    assert np.mean(wrong) < 3.5  # 1 for the truth's mean, 6 for a fit that passes through all


def test_folds_ask_each_episode_once_and_never_fit_what_they_ask() -> None:
    groups = np.array([0, 0, 1, 2, 2, 2, 3])
    parts = list(folds(groups, count=3))
    assert sum(ask for _, ask in parts).tolist() == [1] * 7
    for fit, ask in parts:
        assert not set(groups[fit]) & set(groups[ask])
    assert list(folds(np.zeros(5))) == []


def test_images_are_averaged_and_vectors_are_not() -> None:
    image = torch.arange(4 * 4, dtype=torch.float32).reshape(1, 16)
    space = Space((1, 4, 4), dtype="uint8")
    assert coarse(image, space, 2).tolist() == [[2.5, 4.5, 10.5, 12.5]]
    assert coarse(image, space).shape == (1, 16)
    assert coarse(image, Space((16,))) is image
