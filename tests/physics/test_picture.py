"""Pictures of worlds show their parts where they are."""

import numpy as np
import torch

from reverie.physics.mpm import Kind
from reverie.physics.picture import Viewer, items
from reverie.physics.render import draw
from reverie.physics.world import World
from tests.models.physics.worlds import FLOOR, cube, landing, leg, napkin, soft


def test_every_part_is_in_the_picture() -> None:
    for make, count in ((soft, 3), (napkin, 3), (landing, 4), (leg, 3)):
        world = make()
        things = items(world, world.initial(1), 0)
        assert len(things) == count, make
        frame = draw(things, Viewer(world, 96).camera)
        seen = {*np.unique(frame.label)} - {-1}
        assert len(seen) >= count - (make is landing), make  # a hand is out of sight there


def test_a_batch_is_a_picture_each_and_rows_differ() -> None:
    world = soft()
    state = world.initial(2)
    moved = state.matter.position.clone()
    moved[1, :, 0] += 0.1
    state = state._replace(matter=state.matter._replace(position=moved))
    pictures = Viewer(world, 64)(state)
    assert pictures.shape == (2, 64, 64, 3) and pictures.dtype == np.uint8
    assert (pictures[0] != pictures[1]).any()
    assert (pictures == Viewer(world, 64)(state)).all()


def test_materials_are_told_apart_by_colour() -> None:
    means = []
    for kind in (Kind.LIQUID, Kind.SAND):
        world = World(dt=0.02, matter=cube(5, kind), obstacles=FLOOR)
        frame = draw(items(world, world.initial(1), 0), Viewer(world, 64).camera)
        means.append(frame.colour[frame.label == 0].mean(0))
    assert means[0][2] > means[0][0] and means[1][0] > means[1][2]


def test_a_state_with_a_gradient_can_be_drawn() -> None:
    world = soft()
    state = world.initial(1)
    state = state._replace(
        matter=state.matter._replace(position=state.matter.position.requires_grad_())
    )
    assert Viewer(world, 16)(state).shape == (1, 16, 16, 3)
    assert torch.is_grad_enabled()
