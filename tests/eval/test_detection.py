"""Surprise that tells worlds apart, in known worlds."""

import json
import math

import pytest
import torch

from reverie.core.model import Batch
from reverie.core.spec import Output, Spec
from reverie.eval.detection import detect, detection, surprise, usual_error
from reverie.eval.windows import Windows
from tests.eval.known import Known, System, record
from tests.eval.worlds import Camera, Chunked, images
from tests.eval.worlds import record as play

ROUGH = System(rough=(0.2, 0.6, 1.5, 4.0))
SYSTEM = System()


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    inside, outside = [0.0, 1.0, 2.0, 2.0], [2.0, 3.0, 0.5, 4.0]
    pairs = [(o > i) + 0.5 * (o == i) for i in inside for o in outside]
    found = detect(inside, outside)
    assert found.verdict.value == pytest.approx(sum(pairs) / 16)
    assert (found.inside, found.outside) == (4, 4)
    assert found.verdict.low < found.verdict.value < found.verdict.high


def test_the_share_that_is_missed_is_that_below_the_95_th_of_a_hundred() -> None:
    inside = [float(k) for k in range(1, 101)]
    found = detect(inside, [94.0, 95.0, 95.5, 200.0])
    assert found.missed == 0.5
    assert found.missed_low < 0.5 < found.missed_high


def test_detection_is_judged_by_the_interval_over_episodes() -> None:
    generator = torch.Generator().manual_seed(0)
    usual, same = torch.randn(60, generator=generator), torch.randn(60, generator=generator)
    assert detect(usual, usual + 2).verdict.answer == "detects"
    assert detect(usual, same).verdict.answer == "no better than chance"
    assert detect(usual, usual - 2).verdict.answer == "misleads"
    assert detect([0.0, 1.0], [8.0, 9.0]).verdict.answer == "cannot be told"
    assert detect([0.0, 1.0, 2.0, 0.5], [8.0, 9.0, 8.5, 9.5]).verdict.answer == "detects"
    assert detect([0.0, 5.0, 2.0, 4.0], [3.0, 1.0, 6.0, 4.5]).verdict.answer == "cannot be told"
    with pytest.raises(ValueError, match="finite"):
        detect([math.nan], [1.0])


def test_windows_of_one_episode_are_one_piece_of_evidence() -> None:
    scores = torch.tensor([0.0, 2.0, 10.0])
    episode = torch.tensor([0, 0, 1])
    found = detect(scores, torch.tensor([3.0]), episode)
    assert found.inside == 2
    assert found.verdict.value == 0.5  # means 1 and 10 around 3


def test_the_usual_one_step_error_is_the_variance_of_the_noise() -> None:
    usual = usual_error(Known(spread=0), record(SYSTEM, 200, 8))
    assert usual["position"] == pytest.approx([SYSTEM.sigma**2] * 2, rel=0.1)
    assert usual["rough"] == pytest.approx([0.0])


def test_surprise_is_the_one_step_error_over_the_usual_one() -> None:
    data = record(SYSTEM, 5, 6)
    usual = {"position": torch.tensor([0.01, 0.02])}
    x, a = data.batch.obs["position"], data.batch.action
    error = x[:, 1:] - SYSTEM.decay * x[:, :-1] - SYSTEM.gain * a[:, 1:]
    expected = (error.square() / usual["position"]).mean((1, 2))
    found = surprise(Known(spread=0), data, usual, at_once=2)
    assert torch.allclose(found, expected, rtol=1e-3)


def test_surprise_by_the_model_s_own_spread_is_its_likelihood() -> None:
    data = record(SYSTEM, 40, 20)
    generator = torch.Generator().manual_seed(0)
    found = surprise(Known(), data, samples=64, generator=generator)
    expected = 2 * math.log(SYSTEM.sigma) + 1  # E[z^2 + log v] of the true law
    certain = math.log(1e-12)  # of the other sensor, which is foretold exactly
    assert float(found.mean()) == pytest.approx((expected + certain) / 2, abs=0.08)
    assert float(found.std()) < 0.5
    with pytest.raises(ValueError, match="8 or more"):
        surprise(Known(), data)


@pytest.mark.parametrize(
    ("other", "answer"),
    [
        (SYSTEM, "no better than chance"),
        (System(gain=0.8), "detects"),  # a lighter body
        (System(sigma=0.3), "detects"),
        (System(decay=0.6), "detects"),
    ],
)
def test_a_changed_body_surprises(other: System, answer: str) -> None:
    usual, inside = record(SYSTEM, 60, 16, seed=1), record(SYSTEM, 60, 16, seed=2)
    found = detection(Known(spread=0), usual, inside, record(other, 60, 16, seed=3))
    assert found.verdict.answer == answer


def test_a_dimmed_camera_surprises_where_the_camera_is_asked() -> None:
    kinds = [record(SYSTEM, 20, 5, seed=k, vector=False) for k in range(3)]
    camera = kinds[2].batch.obs["camera"]
    kinds[2].batch.obs["camera"] = (camera.float() * 0.6).byte()
    model = Known(spread=0, vector=False)
    found = detection(model, *kinds, names=["camera"])
    assert found.verdict.answer == "detects"
    assert found.verdict.value > 0.9
    assert json.loads(json.dumps(found.to_json()))["outside"] == 20


def test_chunks_are_foreseen_where_they_end() -> None:
    data = play(4, 11)
    found = usual_error(Chunked(), data)  # rows 3, 6 and 9, which the point foretells
    assert float(found["position"]) < 1e-6
    with pytest.raises(ValueError, match="hold no step of 3"):
        usual_error(Chunked(), play(4, 3))


def test_a_sensor_that_was_missing_does_not_surprise() -> None:
    data = record(SYSTEM, 6, 6)
    present = torch.ones(6, 6, dtype=torch.bool)
    present[2, 3] = False
    usual = {"position": torch.tensor([0.01, 0.01])}
    data.batch.obs["position.present"] = present
    data.batch.obs["position"][2, 3] = 1e6
    assert float(surprise(Known(spread=0), data, usual).max()) < 20


class Mute(Camera):
    spec = Spec(Camera.spec.obs, Camera.spec.action, 0.1, provides=frozenset[Output]({"reward"}))


def test_a_model_that_shows_nothing_cannot_be_surprised() -> None:
    data: Windows = images([0, 1, 2])
    assert isinstance(data.batch, Batch)
    with pytest.raises(ValueError, match="predicts obs"):
        surprise(Mute(), data, {})
    with pytest.raises(ValueError, match="No sensor"):
        surprise(Camera(), data, {})
