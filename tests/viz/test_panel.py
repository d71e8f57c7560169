"""The moving picture shows both sides at the right moments and marks when the model is alone."""

import numpy as np
import pytest

from reverie.viz import panel
from reverie.viz.film import Film, Trace

T, OBSERVED = 20, 6


def film(real: bool = True, imagined: bool = True) -> Film:
    """Frames whose grey is their row; real ones red, imagined ones green."""
    frames = np.zeros((T, 24, 32, 3), np.uint8)
    frames[:, :, :, 0] = np.arange(T)[:, None, None] * 10
    x = np.sin(np.arange(T) / 3)
    traces = tuple(Trace(f"x {k}", "m", x * k, x * k + 0.1) for k in range(1, 9))
    return Film(
        "toy",
        0.1,
        OBSERVED,
        traces,
        tuple(range(T)),
        frames if real else None,
        frames[..., ::-1].copy() if imagined else None,
    )


def blue(frame: np.ndarray) -> int:
    """Pixels in the colour of what is imagined."""
    return int((np.abs(frame.astype(int) - panel.MODEL).sum(2) < 8).sum())


def test_both_sides_show_their_frame() -> None:
    frames, fps = panel.compose(film(), height=48)
    assert fps == pytest.approx(10)
    assert len(frames) == T
    middle = panel.HEAD + 24
    for t in (0, 5, 6, 19):
        left = frames[t, middle, panel.EDGE + 20]
        right = frames[t, middle, panel.EDGE + 64 + panel.GAP + 20]
        assert left.tolist() == [10 * t, 0, 0]
        assert right.tolist() == [0, 0, 10 * t]


def test_the_frame_is_marked_when_the_model_is_left_alone() -> None:
    frames, _ = panel.compose(film(), height=96)
    counts = [blue(frame) for frame in frames]
    assert max(counts[:OBSERVED]) == 0
    assert min(counts[OBSERVED:]) > 500
    assert counts[-1] > counts[OBSERVED]  # the bar has grown


@pytest.mark.parametrize("real", [True, False])
def test_curves_stand_in_for_what_cannot_be_drawn(real: bool) -> None:
    frames, _ = panel.compose(film(real=real, imagined=False), height=160)
    assert blue(frames[OBSERVED - 1]) < 200
    assert blue(frames[-1]) > 1500
    assert len({frame.shape for frame in frames}) == 1


def test_moments_are_spread_over_what_was_imagined() -> None:
    found = panel.moments(film(), 5)
    assert len(found) == 5
    assert found[0].seconds == 0
    assert found[-1].seconds == pytest.approx((T - OBSERVED) * 0.1)
    steps = np.diff([p.seconds for p in found])
    assert steps.min() > 0.2
    assert found[1].real[0, 0, 0] == found[1].imagined[0, 0, 2]
    assert panel.moments(film(imagined=False)) == []


def test_some_of_many_traces_are_chosen_in_order() -> None:
    traces = film().traces
    assert panel.choose(traces, 20) == list(traces)
    chosen = panel.choose(traces, 3)
    assert [t.label for t in chosen] == ["x 1", "x 5", "x 8"]
