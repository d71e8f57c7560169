"""What was predicted beside what happened."""

import pytest
import torch

from reverie.core.spec import Space, Spec
from reverie.eval.pairs import deviation, predicted, read, real
from tests.eval.worlds import Camera, Chunked, Point, images
from tests.eval.worlds import record as play


def test_pairs_hold_the_rows_that_the_steps_name() -> None:
    data = play(3, 13)
    ((span, found),) = predicted(Chunked(), data, 4, 9, 2)
    position, _, reward = found
    assert span == slice(0, 32)
    assert position.steps == reward.steps == (3, 6, 9)
    assert torch.equal(position.truth, data.batch.obs["position"][:, [6, 9, 12]])
    assert torch.equal(position.last, data.batch.obs["position"][:, 3:4])
    sums = data.batch.reward[:, 4:13].unflatten(1, (3, 3)).sum(2)
    assert torch.allclose(reward.truth[..., 0], sums)
    assert torch.allclose(reward.samples[1, :, :, 0], sums, atol=1e-4)
    assert torch.allclose(reward.last[..., 0], 3 * data.batch.reward[:, 3:4])
    other = torch.tensor([2, 0])
    assert torch.equal(
        real(Chunked().spec, data.batch, "position", 4, (3, 6), other)[0],
        data.batch.obs["position"][other][:, [6, 9]],
    )


def test_pairs_come_a_few_windows_at_a_time_and_bytes_become_shares() -> None:
    chunks = list(predicted(Camera(), images([0, 51, 255], windows=5), 1, 2, 1, at_once=2))
    assert [found[0].truth.shape[0] for _, found in chunks] == [2, 2, 1]
    assert [p.name for p in chunks[0][1]] == ["camera"]
    assert chunks[0][1][0].truth[0, :, 0].tolist() == pytest.approx([0.2, 1.0])


def test_a_sensor_must_be_there_in_the_last_observed_row_and_in_the_predicted_one() -> None:
    data = play(4, 6)
    present = torch.ones(4, 6, dtype=torch.bool)
    present[0, 1] = present[1, 3] = present[2, 0] = False
    data.batch.obs["position.present"] = present
    ((_, found),) = predicted(Point(), data, 2, 4, 1)
    assert found[0].weight.tolist() == [[0, 0, 0, 0], [1, 0, 1, 1], [1] * 4, [1] * 4]


def test_a_deviation_is_that_of_the_rows_in_which_the_sensor_was() -> None:
    data = play(4, 8)
    present = torch.rand(4, 8) > 0.4
    data.batch.obs["position.present"] = present
    found = deviation(Point(), data, at_once=1)
    expected = data.batch.obs["position"][present].std(0, correction=0)
    assert found["position"] == pytest.approx(expected.numpy(), rel=1e-4)
    assert found["still"].tolist() == [0, 0]
    assert found["reward"].item() == pytest.approx(
        data.batch.reward[~data.batch.first].std(correction=0).item(), rel=1e-4
    )
    data.batch.obs["position.present"] = torch.zeros(4, 8, dtype=torch.bool)
    assert deviation(Point(), data)["position"].tolist() == [0]  # never there: never changes


def test_a_number_without_axes_is_one_entry() -> None:
    spec = Spec(obs={"position": Space(())}, action=Space((1,)), dt=1.0)
    batch = play(2, 4).batch
    batch = batch._replace(obs={"position": batch.obs["position"][..., 0]})
    rows = read(spec, batch, "position", torch.tensor([[0], [1]]), torch.tensor([1, 2]))
    assert torch.equal(rows[..., 0], batch.obs["position"][:, 1:3])
