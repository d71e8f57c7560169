import numpy as np
import pytest

from reverie.data.lerobot.statistics import NAMES, QUANTILES, Tally, joined, summary


def smallest(values, share):
    """The smallest value that at least that share of the values does not exceed."""
    return min(v for v in values if np.mean(values <= v) >= share - 1e-12)


@pytest.mark.parametrize("count", [1, 2, 37, 500])
def test_a_summary_is_by_entry(count):
    values = np.random.default_rng(count).normal(3, [1, 10], (count, 2)).astype(np.float32)
    found = summary(values)
    assert tuple(sorted(found)) == tuple(sorted(NAMES))
    assert found["count"].tolist() == [count]
    wide = values.astype(np.float64)
    np.testing.assert_allclose(found["mean"], wide.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found["std"], wide.std(0), rtol=1e-12, atol=1e-12)
    assert found["min"].tolist() == values.min(0).tolist()
    assert found["max"].tolist() == values.max(0).tolist()
    for name, share in QUANTILES.items():
        assert found[name].tolist() == [smallest(wide[:, k], share) for k in range(2)], name


def test_whole_numbers_stay_whole():
    found = summary(np.array([2**60, 3, 5]))
    assert found["min"].tolist() == [3] and found["max"].tolist() == [2**60]
    assert summary(np.array([[True], [False]]))["min"].dtype == bool


def test_of_a_matrix_the_last_axis_is_kept():
    values = np.arange(12.0).reshape(2, 3, 2)
    found = summary(values)
    assert found["mean"].tolist() == [5, 6] and found["count"].tolist() == [2]


def test_what_is_not_finite_is_left_out():
    values = np.array([[1, np.nan], [3, np.nan], [np.inf, np.nan]])
    found = summary(values)
    assert found["mean"].tolist() == [2, 0] and found["max"].tolist() == [3, 0]
    assert found["count"].tolist() == [3]


def test_a_tally_is_the_summary_of_the_pixels():
    pictures = np.random.default_rng(0).integers(0, 256, (7, 3, 5, 6), np.uint8)
    tally = Tally()
    for picture in pictures:
        tally.add(picture)
    found = tally.summary()
    expected = summary(pictures.transpose(0, 2, 3, 1).reshape(-1, 3))
    assert found.pop("count").tolist() == [7]
    for name, value in found.items():
        assert value.shape == (3, 1, 1)
        np.testing.assert_allclose(value.ravel() * 255, expected[name], rtol=1e-9, err_msg=name)


def test_grey_stands_in_each_channel_and_large_pictures_are_thinned_out():
    tally = Tally()
    picture = np.zeros((1, 300, 320), np.uint8)
    picture[:, ::2, ::2] = 200  # 320 // 150: every second pixel is looked at
    tally.add(picture)
    found = tally.summary()
    assert found["mean"].ravel().tolist() == [200 / 255] * 3
    assert tally.levels.sum() == 3 * 150 * 160


def test_joined_summaries_are_those_of_all_values():
    rng = np.random.default_rng(1)
    parts = [rng.normal(k, k + 1, (count, 3)) for k, count in enumerate((4, 90, 11))]
    whole = summary(np.concatenate(parts))
    found = {}
    for part in parts:
        found = joined(found, {"pose": summary(part)})
    for name in ("mean", "std", "min", "max", "count"):
        np.testing.assert_allclose(found["pose"][name], whole[name], rtol=1e-12, err_msg=name)
    weighted = sum(len(part) * summary(part)["q50"] for part in parts) / 105
    np.testing.assert_allclose(found["pose"]["q50"], weighted, rtol=1e-12)
