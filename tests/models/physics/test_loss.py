"""How far recorded rows are from the step before them."""

import torch

from tests.models.physics.worlds import model, rows, soft


def test_rows_of_the_same_world_cost_nothing_and_of_another_something() -> None:
    made = model(soft(), learn=("matter_stiffness",))
    recorded = rows(made, length=6)
    loss = made.loss(recorded, made.initial(3), ()).losses["state"]
    assert loss.shape == (3, 6) and (loss[:, 0] == 0).all()
    assert loss.max() < 1e-8
    with torch.no_grad():
        made.factors["matter_stiffness"].fill_(0.7)
    assert made.loss(recorded, made.initial(3), ()).losses["state"][:, 1:].mean() > 1e-3


def test_nothing_is_held_against_the_beginning_of_an_episode() -> None:
    made = model(soft(), learn=("gravity",))
    recorded = rows(made, length=4)
    with torch.no_grad():
        made.factors["gravity"].fill_(1.0)
    cut = recorded.first.clone()
    cut[:, 2] = True
    loss = made.loss(recorded._replace(first=cut), made.initial(3), ()).losses["state"]
    assert (loss[:, 2] == 0).all() and (loss[:, 1] > 0).all()
