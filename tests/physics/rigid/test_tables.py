import numpy as np

from reverie.physics.rigid.solids.tables import SOLID
from reverie.physics.rigid.tables import (
    ACTUATORS,
    BODIES,
    CHILDREN,
    CONTACTS,
    LINKS,
    tables,
)
from tests.physics.rigid.scenes import MIXED, QUADRUPED, loaded, world

BOX = '<body pos="{0} 0 1"><freejoint/><geom type="box" size="0.1 0.1 0.1" mass="1"/></body>'
BALL = '<body pos="{0} 0 1"><freejoint/><geom size="0.1" mass="1"/></body>'


def lists(made, column, unit=1):
    return [made.lists[unit * a : unit * b].tolist() for a, b in made.axes[:, column : column + 2]]


def test_links_are_joints_and_bodies_without():
    made = tables(loaded(MIXED).model)
    kinds = [LINKS[k] for k in made.links[:, 1]]
    assert kinds == ["slide", "slide", "hinge", "fixed", "ball", "hinge", "free", "hinge"]
    assert made.links[:, 0].tolist() == [-1, 0, 1, 2, 3, 4, -1, 6]
    assert made.bodies[:, 0].tolist() == [2, 3, 4, 5, 6, 7]
    assert made.bodies[:, 1].tolist() == [2, 2, 2, 2, 6, 6]
    assert made.on.tolist() == [2, 3, 4, 5, 6, 7]


def test_axes_have_their_bodies_and_children():
    model = loaded(MIXED).model
    made = tables(model)
    bodies, children = lists(made, BODIES), lists(made, CHILDREN)
    assert bodies[2] == [0, 1]  # the welded one hangs on the same axis
    assert sorted(b for group in bodies for b in group) == list(range(6))
    for d, group in enumerate(children):
        assert group == [c for c, p in enumerate(model.parent_velocity) if p == d]


def test_actuators_and_contacts_stand_at_their_axes():
    model = loaded(QUADRUPED).model
    made = tables(model)
    motors = lists(made, ACTUATORS, 2)
    assert motors[6:] == [[u, 0] for u in range(12)] and not any(motors[:6])
    points = lists(made, CONTACTS)
    feet = [d for d, group in enumerate(points) if group]
    assert feet == [8, 11, 14, 17]
    assert [made.points[c, 4] for d in feet for c in points[d]] == [p.first for p in model.pairs]


def test_couples_have_their_points_and_one_direction():
    made = tables(loaded(world(BALL.format(0) + BALL.format(0.1) + BALL.format(0.2))).model)
    assert made.couples[:, 8:10].tolist() == [[0, 1], [0, 2], [1, 2]]
    assert made.couples[:, 6:8].tolist() == [[0, 1], [1, 2], [2, 3]]
    for body, (a, b) in enumerate(made.shared):
        bonds = made.bonds[2 * a : 2 * b].reshape(-1, 2)
        assert all(made.couples[c, 8 + side] == body for c, side in bonds)
        assert len(bonds) == 2
    for mate in made.mates:
        assert mate[3] < mate[15]


def test_boxes_touch_with_their_corners_and_edges():
    """Both of a pair, and each the floor with its corners alone."""
    made = tables(loaded(world(BOX.format(0) + BOX.format(0.1))).model)
    assert made.points.shape == (16, 13) and (made.points[:, 6] >= 0).all()
    assert (made.mates[:, 6] == SOLID).all()
    assert np.bincount(made.mates[:, 4]).tolist() == [0, 20, 20]


def test_tables_are_of_the_integers_of_kernels():
    assert np.int32 == tables(loaded(MIXED).model).links.dtype
