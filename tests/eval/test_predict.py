"""Predictions see what they may see, and draw from the generator alone."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from reverie.core.model import Obs
from reverie.core.spec import Space
from reverie.eval.predict import predict
from tests.eval.worlds import POINT, Chunked, Filmed, Point, record


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


def test_windows_over_an_episode_end_are_refused() -> None:
    data = record(2, 8)
    data.batch.first[1, 5] = True
    with pytest.raises(ValueError, match="crosses the end of an episode"):
        predict(Point(), data.batch, observed=3, horizon=5)
    predict(Point(), data.batch, observed=2, horizon=3)
    with pytest.raises(ValueError, match="need 9"):
        predict(Point(), data.batch, observed=4, horizon=5)


def test_a_recording_without_a_sensor_of_the_model_is_refused() -> None:
    data = record(2, 8)
    del data.batch.obs["still"]
    with pytest.raises(ValueError, match="lacks still"):
        predict(Point(), data.batch, observed=3, horizon=5)


def test_chunks_must_fit() -> None:
    data = record(2, 14)
    with pytest.raises(ValueError, match="multiples of 3"):
        predict(Chunked(), data.batch, observed=5, horizon=6)
    with pytest.raises(ValueError, match="multiples of 3"):
        predict(Chunked(), data.batch, observed=4, horizon=8)
    with pytest.raises(ValueError, match="at least 1"):
        predict(Chunked(), data.batch, observed=4, horizon=0)


def test_a_clip_shows_every_row_and_its_rewards_by_chunk() -> None:
    data = record(2, 13)
    found = predict(Filmed(), data.batch, observed=4, horizon=9, samples=2)
    assert found.steps == tuple(range(1, 10))
    assert found.obs["position"].shape == (2, 2, 9, 1)
    assert found.seen["position"].shape == (2, 2, 2, 1)
    assert found.reward is not None
    assert found.reward.shape == (2, 2, 3)


def test_windows_bring_the_context_as_if_it_had_been_given() -> None:
    class Weighed(Point):
        """Its position is seen from a place that is constant in an episode."""

        def initial(self, batch: int, context: Obs | None = None) -> Tensor:
            self.given = None if context is None else context["place"]
            return super().initial(batch)

    model = Weighed(spec=replace(POINT, context={"place": Space(())}))
    data, place = record(3, 8).batch, torch.tensor([1.0, 2.0, 3.0])
    predict(model, data, observed=2, horizon=6, samples=2, context={"place": place})
    assert model.given is not None
    assert model.given.tolist() == [1, 1, 2, 2, 3, 3]
    brought = data._replace(obs={**data.obs, "place": 10 * place[:, None].expand(-1, 8)})
    predict(model, brought, observed=2, horizon=6, samples=2)
    assert model.given.tolist() == [10, 10, 20, 20, 30, 30]
    predict(model, data, observed=2, horizon=6)
    assert model.given is None
