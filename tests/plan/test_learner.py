"""Learning a model and planning in it."""

import torch

from reverie.core.model import sample_rows
from reverie.learn.device import Device
from reverie.learn.fit import Fitter
from reverie.learn.learner import Grouped, Learner, latent_spaces
from reverie.learn.optim import Group, OptimiserConfig
from reverie.plan import CEM, MPC, MPCConfig
from reverie.plan.learner import PlanningLearner
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
