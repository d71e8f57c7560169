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


class Dots(Linear):
    """A black table of 16 x 16 pixels with one white dot, at column 1 + 3 x_0."""

    def decode(self, state):
        picture = torch.zeros(len(state.x), 1, 16, 16)
        column = 1 + 3 * state.x[:, 0].long()
        picture[torch.arange(len(column)), 0, 8, column] = 1.0
        return {"image": picture}


def dot(column: int) -> torch.Tensor:
    picture = torch.zeros(1, 16, 16)
    picture[0, 8, column] = 1.0
    return picture


def test_a_blurred_goal_knows_the_way_to_a_dot_that_does_not_touch_it():
    state = MODEL.initial(5)._replace(x=torch.tensor([[0.0, 0], [1, 0], [2, 0], [3, 0], [4, 0]]))
    still = rollout.imagine(Dots(), state, torch.zeros(1, 5, 1, 1), torch.zeros(1, 5, 1, 2))
    still = still._replace(states=tree.map(lambda x: x[None], state))
    rows = torch.zeros(5, dtype=torch.int64)
    pixels = Goal({"image": dot(13)})(Dots(), still, rows)[0]
    assert torch.allclose(pixels[:4], pixels[0].expand(4))  # alike: no way
    assert pixels[4] == 0
    blurred = Goal({"image": dot(13)}, blur=(1, 4, 8, 16))(Dots(), still, rows)[0]
    assert min(blurred[0], blurred[1]) > blurred[2] > blurred[3] > blurred[4] == 0


def test_a_blur_is_the_mean_over_sizes_of_averaged_differences():
    class Noise(Linear):
        def decode(self, state):
            return {"image": torch.rand(len(state.x), 3, 8, 8, generator=torch.manual_seed(1))}

    goal = torch.rand(3, 8, 8, generator=torch.manual_seed(2))
    found = Goal({"image": goal}, blur=(1, 4, 8))(Noise(), FUTURES, ROWS).flatten()
    seen = Noise().decode(tree.flatten_time(FUTURES.states))["image"]
    away = seen - goal
    costs = [away.square().mean((1, 2, 3))]
    for side in (4, 8):
        half = side // 2
        wide, starts = torch.nn.functional.pad(away, [half] * 4), range(0, 9, side // 4)
        means = [wide[..., i : i + side, j : j + side].mean((2, 3)) for i in starts for j in starts]
        costs.append(side**2 * torch.stack(means, -1).square().mean((1, 2)))
    assert torch.allclose(found, torch.stack(costs).mean(0), rtol=1e-5)
    plain = Goal({"image": goal}, blur=(1,))(Noise(), FUTURES, ROWS)
    assert torch.allclose(plain, Goal({"image": goal})(Noise(), FUTURES, ROWS))


def test_a_blur_leaves_vectors_as_they_are():
    class Camera(Linear):
        def decode(self, state):
            return {"x": state.x, "image": state.x[:, :1, None, None].expand(-1, 3, 2, 2)}

    target = {"x": torch.ones(2), "image": torch.zeros(3, 2, 2)}
    both = Goal(target, weights={"image": 0.0}, blur=(2,))(Camera(), FUTURES, ROWS)
    assert torch.allclose(both, Goal({"x": torch.ones(2)})(MODEL, FUTURES, ROWS))


def test_a_blur_that_does_not_fit_is_said():
    with pytest.raises(ValueError, match="compares pictures"):
        Goal({"x": torch.zeros(2)}, blur=(4,))
    with pytest.raises(ValueError, match="powers of 2"):
        Goal({"image": torch.zeros(3, 8, 8)}, blur=(6,))
    with pytest.raises(ValueError, match="take smaller squares"):
        Goal({"image": dot(3)}, blur=(32,))(Dots(), FUTURES, ROWS)


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
