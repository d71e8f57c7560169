import pytest

from reverie.physics.rigid import Law
from tests.physics.rigid.scenes import MIXED, QUADRUPED, compiled, loaded


def test_axes_know_what_they_move_against():
    found, (model, _) = loaded(MIXED).model, compiled(MIXED)
    assert list(found.parent_velocity) == model.dof_parentid.tolist()
    assert found.position_size == model.nq and found.velocity_size == model.nv


def test_bodies_know_their_last_axis_and_their_root():
    found = loaded(MIXED).model
    assert found.last_velocity == (2, 2, 5, 6, 12, 13)
    assert found.root == (0, 0, 0, 0, 4, 4)


def test_bodies_are_found_by_name():
    found = loaded(QUADRUPED).model
    assert found.body("hip1") == 4
    with pytest.raises(KeyError, match="no body 'tail'"):
        found.body("tail")


def test_what_is_fixed_to_the_world_does_not_move():
    found = loaded(QUADRUPED).model
    assert not found.moves(0) and found.moves(1)


def test_a_law_is_positive():
    for name in ("slip", "transition", "passes", "sweeps"):
        with pytest.raises(ValueError, match="positive"):
            Law(**{name: 0})


def test_models_are_equal_only_to_themselves():
    one, two = loaded(MIXED).model, loaded(MIXED).model
    assert one != two and len({one, two, one}) == 2
