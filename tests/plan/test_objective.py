import pytest
import torch

from reverie.core import rollout, tree
from reverie.plan import Goal, Reward, Stage
from tests.plan.worlds import Linear

MODEL = Linear()
STATE = MODEL.initial(3)._replace(x=torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]))
FUTURES = rollout.imagine(MODEL, STATE, torch.zeros(4, 3, 1, 1), torch.zeros(4, 3, 1, 2))
ROWS = torch.tensor([0, 0, 1])


def test_the_reward_is_a_cost_with_its_sign_turned():
    assert torch.equal(Reward()(MODEL, FUTURES, ROWS), -FUTURES.transition.reward)
    assert Reward().needs == {"reward"}
    assert not Reward().reads_states


def test_a_function_of_the_states_is_an_objective():
    stage = Stage(lambda model, futures: futures.states.x[..., 0].abs())
    assert torch.equal(stage(MODEL, FUTURES, ROWS), FUTURES.states.x[..., 0].abs())
    wrong = Stage(lambda model, futures: futures.states.x.sum())
    with pytest.raises(ValueError, match=r"must be \(4, 3\)"):
        wrong(MODEL, FUTURES, ROWS)


def test_a_goal_is_the_distance_to_an_observation():
    goal = Goal({"x": torch.tensor([1.0, 0.0])})
    away = (FUTURES.states.x - torch.tensor([1.0, 0.0])).square().mean(-1)
    assert torch.allclose(goal(MODEL, FUTURES, ROWS), away)
    assert goal.needs == {"obs"}
    last = Goal({"x": torch.tensor([1.0, 0.0])}, weights={"x": 3.0}, at="last")
    cost = last(MODEL, FUTURES, ROWS)
    assert torch.allclose(cost[-1], 3 * away[-1])
    assert cost[:-1].eq(0).all()


def test_each_problem_has_its_goal():
    target = torch.tensor([[1.0, 0.0], [5.0, 5.0]])
    cost = Goal({"x": target})(MODEL, FUTURES, ROWS)
    assert torch.allclose(cost, (FUTURES.states.x - target[ROWS]).square().mean(-1))


def test_a_goal_may_be_features():
    goal = Goal({"features": torch.tensor([1.0, 0.0])})
    assert goal.needs == frozenset()
    assert torch.allclose(
        goal(MODEL, FUTURES, ROWS), Goal({"x": torch.tensor([1.0, 0.0])})(MODEL, FUTURES, ROWS)
    )


def test_an_image_goal_is_compared_in_floats():
    class Camera(Linear):
        def decode(self, state):
            return {"image": state.x[:, :1, None, None].expand(-1, 3, 2, 2)}

    goal = Goal({"image": torch.full((3, 2, 2), 255, dtype=torch.uint8)})
    cost = goal(Camera(), FUTURES, ROWS)
    assert torch.allclose(cost, (FUTURES.states.x[..., 0] - 1).square())


def test_goals_that_do_not_fit_are_said():
    with pytest.raises(ValueError, match="decodes no 'arm'; it decodes x"):
        Goal({"arm": torch.zeros(2)})(MODEL, FUTURES, ROWS)
    with pytest.raises(ValueError, match="does not fit"):
        Goal({"x": torch.zeros(())})(MODEL, FUTURES, ROWS)
    with pytest.raises(ValueError, match="needs a target"):
        Goal({})
    with pytest.raises(ValueError, match="have no target"):
        Goal({"x": torch.zeros(2)}, weights={"y": 1.0})


def test_states_of_the_rollout_are_not_changed():
    before = tree.clone(FUTURES.states)
    Goal({"x": torch.zeros(2)})(MODEL, FUTURES, ROWS)
    assert not tree.differ(before, FUTURES.states)
