"""Learning a model and planning in it."""

import torch

from reverie.core import tree
from reverie.core.model import sample_rows
from reverie.learn.device import Device
from reverie.learn.fit import Fitter
from reverie.learn.learner import Grouped, Learner, latent_spaces
from reverie.learn.optim import Group, OptimiserConfig
from reverie.models.tdmpc2 import Task
from reverie.plan import CEM, MPC, MPCConfig
from reverie.plan.learner import PlanningLearner
from tests.models.tdmpc2 import tiny as tdmpc2
from tests.toys import Latent

LEAN = CEM(samples=10, elites=2, iterations=1)


def planner(model):
    return MPC(model, LEAN, MPCConfig(horizon=2))


def rows(learner):
    return sample_rows(learner.model.spec, 3, 6, torch.Generator().manual_seed(0))


def fit(learner, updates=1):
    fitter = Fitter(learner, OptimiserConfig(warmup=0), Device(torch.device("cpu")))
    generator = torch.Generator().manual_seed(1)
    return [fitter.fit(rows(learner), (), generator) for _ in range(updates)]


def test_it_is_a_learner_that_plans_with_the_current_weights():
    learner = PlanningLearner(Latent(), planner)
    assert isinstance(learner, Learner)
    agent = learner.agent
    assert isinstance(agent, MPC)
    fit(learner)
    assert learner.agent is agent
    assert agent.model is learner.model
    assert learner.policy is None and learner.critic is None


def test_it_fits_the_model_and_stores_its_states():
    learner = PlanningLearner(Latent(), planner)
    first, *_, last = (f.metrics["loss"] for f in fit(learner, 60))
    assert last < first
    spaces = latent_spaces(learner)
    latents = fit(learner)[0].latents
    assert latents.keys() == spaces.keys()
    again = learner.update(rows(learner), {k: v[:, 0] for k, v in latents.items()},
                           torch.Generator().manual_seed(0))  # fmt: skip
    fresh = learner.update(rows(learner), (), torch.Generator().manual_seed(0))
    assert again.losses.keys() == fresh.losses.keys()


def test_a_model_that_forgets_stores_nothing():
    learner = PlanningLearner(Latent(), planner, stores=False)
    assert latent_spaces(learner) == {}
    assert fit(learner)[0].latents == ()


def test_what_the_model_brings_for_learning_is_used():
    class Own(Latent):
        followed = 0

        def __init__(self):
            super().__init__()
            self.drawn = []

        def training_noise(self, rows, steps, generator):
            self.drawn.append((rows, steps))
            return torch.rand(steps, rows, *self.noise(1).shape[1:], generator=generator)

        @property
        def optimiser_groups(self):
            return {"": (1e-2, 1e-8, 5.0, "model")}

        def after_update(self):
            self.followed += 1

    learner = PlanningLearner(Own(), planner)
    assert isinstance(learner, Grouped)
    assert learner.groups == {"model.": Group(1e-2, 1e-8, 5.0, "model")}
    fit(learner, 3)
    assert learner.model.drawn == [(3, 6)] * 3
    assert learner.model.followed == 3


def several(net):
    """Four sequences of a TD-MPC2 of three tasks, of which the rows bring the tasks 0 and 2; then
    comes another episode, of task 1, in the last of them."""
    task = torch.tensor([0, 2, 2, 0])
    batch = tdmpc2.rows(net, batch=4, length=5)
    batch.first[3, 3] = True
    number = task[:, None].repeat(1, 5)
    number[3, 3:] = 1
    return batch._replace(obs={**batch.obs, "task": number}), task


def test_sequences_start_in_the_context_that_their_first_row_brings():
    net = tdmpc2.model(tasks=(*tdmpc2.TASKS, Task("third", 2, 0.7)))
    learner = PlanningLearner(net, lambda model: None, stores=False)
    batch, task = several(net)
    noise = net.training_noise(4, 5, torch.Generator().manual_seed(0))
    given = net.loss(batch, net.initial(4, {"task": task}), noise).losses
    losses = learner.update(batch, (), torch.Generator().manual_seed(0)).losses
    assert not tree.differ(dict(losses), dict(given))
    ignored = net.loss(batch, net.initial(4), noise).losses
    assert tree.differ(dict(losses), dict(ignored))


def test_the_embeddings_of_the_tasks_in_a_batch_learn_and_no_others():
    net = tdmpc2.model(tasks=(*tdmpc2.TASKS, Task("third", 2, 0.7)))
    learner = PlanningLearner(net, lambda model: None, stores=False)
    losses = learner.update(several(net)[0], (), torch.Generator().manual_seed(0)).losses
    sum(loss.mean() for loss in losses.values()).backward()
    moved = net.embeddings.grad.abs().sum(1) > 0
    assert moved.tolist() == [True, False, True]


def test_a_stored_state_goes_before_the_context_of_the_rows():
    learner = PlanningLearner(Latent(), planner)
    batch = rows(learner)
    batch = batch._replace(obs={**batch.obs, "task": torch.ones(3, 6, 2)})
    stored = tree.named(learner.model.initial(3, {"task": torch.full((3, 2), 5.0)}))
    begun, went_on = (
        learner.update(batch, before, torch.Generator().manual_seed(0)).latents["task"]
        for before in ((), stored)
    )
    assert (begun == 1).all() and (went_on == 5).all()
