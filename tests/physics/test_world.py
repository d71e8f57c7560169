"""What there is in a world."""

import dataclasses

import pytest
import torch

from reverie.core import tree
from reverie.physics.tools import Shape
from reverie.physics.world import World, whole
from tests.models.physics.worlds import cube, hand, landing, leg, napkin, soft


def test_controls_are_actuators_then_hands() -> None:
    assert (soft().control_size, leg().control_size, landing().control_size) == (3, 1, 3)
    turning = dataclasses.replace(soft(), hands=hand()._replace(spin=1.0))
    assert turning.control_size == 6


def test_tools_are_geoms_then_hands_then_obstacles() -> None:
    assert landing().shapes == (Shape.PLANE, Shape.SPHERE, Shape.SPHERE, Shape.PLANE)
    assert leg().shapes == ()  # nothing there that could be pushed


def test_knobs_are_those_of_the_parts_there_are() -> None:
    assert {"gravity", "tool_friction", "matter_mass"} <= set(soft().knobs)
    assert not {"cloth_mass", "robot_mass"} & set(soft().knobs)
    assert {"cloth_bend"} <= set(napkin().knobs)


def test_a_beginning_is_copied_and_has_the_precision_asked_for() -> None:
    world = landing()
    state = world.initial(3, torch.float64)
    assert {x.dtype for x in tree.leaves(state)} == {torch.float64}
    assert {len(x) for x in tree.leaves(state)} == {3}
    state.matter.position.add_(1.0)
    assert not torch.equal(world.initial(3, torch.float64).matter.position, state.matter.position)


def test_spans_are_whole_numbers_of_substeps() -> None:
    assert whole(0.01, 1e-3) == 10
    with pytest.raises(ValueError, match="no whole number"):
        whole(0.01, 3e-3)


def test_worlds_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="has none"):
        World(dt=0.1)
    with pytest.raises(ValueError, match="must be positive"):
        World(dt=0.0, matter=cube())
    with pytest.raises(ValueError, match="no whole number"):
        World(dt=0.0205, matter=cube())
