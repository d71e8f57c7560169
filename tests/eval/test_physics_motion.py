"""Motion masks and their agreement, counted by hand."""

import numpy as np
import pytest

from reverie.eval.physics_motion import SCORES, motion_masks, motion_scores


def moving(columns: list[int], row: int = 10) -> np.ndarray:
    """A white square of 6 x 6 pixels on black, at these columns in turn."""
    frames = np.zeros((len(columns), 3, 32, 32), np.float32)
    for frame, column in zip(frames, columns, strict=True):
        frame[:, row : row + 6, column : column + 6] = 1
    return frames


def test_what_stands_still_does_not_move_and_noise_below_the_threshold_neither() -> None:
    frames = moving([5] * 6)
    noise = np.random.default_rng(0).uniform(-0.01, 0.01, frames.shape).astype(np.float32)
    assert not motion_masks(frames).any()
    assert not motion_masks(frames + noise).any()


def test_a_square_that_jumps_moves_where_it_was_and_where_it_is() -> None:
    found = motion_masks(moving([5, 15]))
    assert found.shape == (1, 32, 32)
    assert found[0, 12, 7]
    assert found[0, 12, 17]
    assert not found[0, 25].any()
    # A pixel moves up to 2 beyond the edge, by the blur of 5 x 5.
    assert np.flatnonzero(found[0].any(0)).tolist() == [*range(3, 13), *range(13, 23)]


def test_the_average_forgets_with_its_rate() -> None:
    """After a jump the difference is (1 - r)^k: above 10 / 255 while k < 30.7 for r = 0.1."""
    frames = moving([5] + [15] * 40)
    seen = motion_masks(frames)[:, 12, 17]
    expected = 1 + int(np.log(10 / 255) / np.log(0.9))
    assert seen.sum() == expected
    assert seen[:expected].all()
    assert motion_masks(frames, rate=1.0)[:, 12, 17].sum() == 1


def test_a_dim_object_needs_a_lower_threshold() -> None:
    frames = moving([5, 15]) * 0.03
    assert not motion_masks(frames).any()
    assert motion_masks(frames, threshold=0.01).any()


def test_scores_by_hand() -> None:
    one, other = np.zeros((2, 3, 1, 4), bool)
    one[0, 0, :2] = True
    one[1, 0, 1] = True
    other[0, 0, 1:3] = True
    other[1, 0, 1] = True
    found = motion_scores(one, other)
    assert tuple(found) == SCORES
    assert found["spatial_iou"] == pytest.approx(1 / 3)
    assert found["spatiotemporal_iou"] == pytest.approx((1 / 3 + 1 + 1) / 3)
    # heat of one: 1/3, 2/3, 0; of the other 0, 2/3, 1/3
    assert found["weighted_iou"] == pytest.approx((2 / 3) / (1 / 3 + 2 / 3 + 1 / 3))


def test_the_same_motion_scores_one_and_other_motion_less() -> None:
    true = motion_masks(moving([4, 6, 8, 10, 12]))
    late = motion_masks(moving([4, 4, 6, 8, 10]))
    still = np.zeros_like(true)
    assert all(v == 1 for v in motion_scores(true, true).values())
    assert all(v == 1 for v in motion_scores(still, still).values())
    assert all(v == 0 for v in motion_scores(still, true).values())
    assert all(0.2 < v < 1 for v in motion_scores(late, true).values())
    backwards = motion_scores(motion_masks(moving([4, 12, 10, 8, 6])), true)
    assert backwards["spatial_iou"] > 0.95  # the same places, in another order
    assert backwards["spatiotemporal_iou"] < 0.8


def test_leading_axes_are_kept_and_broadcast() -> None:
    films = np.stack([moving([4, 6, 8]), moving([4, 8, 8])])
    found = motion_masks(np.stack([films, films, films]))
    assert found.shape == (3, 2, 2, 32, 32)
    assert motion_scores(found, found[0])["weighted_iou"].shape == (3, 2)


def test_films_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="at least two frames"):
        motion_masks(moving([4]))
    with pytest.raises(ValueError, match="cannot be compared"):
        motion_scores(np.zeros((2, 4, 4), bool), np.zeros((3, 4, 4), bool))
