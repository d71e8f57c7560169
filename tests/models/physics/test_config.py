"""What of a world is sensed."""

import pytest

from reverie.models.physics import PhysicsConfig
from tests.models.physics.worlds import model, napkin, soft


def test_impossible_configs_are_refused() -> None:
    with pytest.raises(ValueError, match="image -1"):
        PhysicsConfig(image=-1)
    with pytest.raises(ValueError, match="spread"):
        PhysicsConfig(spread=(2.0, 1.0))


def test_keypoints_are_as_many_as_asked_for() -> None:
    assert model(soft(), keypoints=10).spec.obs["keypoints"].shape == (10, 3)
    assert model(soft()).spec.obs["keypoints"].shape == (64, 3)
    assert model(napkin()).spec.obs["keypoints"].shape == (36, 3)
    assert model(soft(), image=16).spec.obs["image"].shape == (3, 16, 16)
