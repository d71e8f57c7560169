from reverie.physics.rigid.mutual.tables import AHEAD, BACK, OWN
from reverie.physics.rigid.tables import tables
from tests.physics.rigid.scenes import gripper, loaded, stack


def test_loose_bodies_answer_only_their_own_forces():
    made = tables(loaded(stack(3)).model)
    assert made.kin.tolist() == [[b, OWN, 6 * b + 5] for b in range(3)]
    assert made.relatives.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert not len(made.answers) and (made.couples[:, 10:] == -1).all()


def test_two_fingers_of_a_hand_answer_forces_on_each_other():
    """Through the slide 0 of the hand: W_21 = A_2 W_01, with W_01 the transpose of W_10."""
    made = tables(loaded(gripper()).model)
    assert made.answers.tolist() == [[1, OWN, 0], [2, BACK, 0]]
    by_body = [made.kin[a:b].tolist() for a, b in made.relatives]
    assert by_body[0] == []  # the hand itself touches nothing
    assert by_body[1] == [[1, OWN, 1], [2, BACK, 1]]
    assert by_body[2] == [[1, AHEAD, 1], [2, OWN, 2]]
    assert by_body[3] == [[3, OWN, 8]]
    ends = {tuple(row[8:10]): tuple(row[10:]) for row in made.couples.tolist()}
    assert ends == {(1, 2): (BACK, 1), (1, 3): (-1, -1), (2, 3): (-1, -1)}
