from types import SimpleNamespace

import torch
from torch import nn

from reverie.core.spec import Space
from reverie.envs import make
from reverie.learn.learner import Learner, Update, latent_spaces, latents_before
from tests.learn.tiny import WIDTH, learner_for


def test_a_learner_is_known_by_what_it_can_do():
    assert isinstance(learner_for(make("toy:pendulum")), Learner)
    assert not isinstance(nn.Linear(2, 2), Learner)


def test_the_latents_of_a_learner_have_spaces():
    assert latent_spaces(learner_for(make("toy:pendulum"))) == {"hidden": Space((WIDTH,))}


def test_whole_numbers_stay_whole_and_none_is_none():
    agent = SimpleNamespace(begin=lambda batch: torch.zeros(batch, 3))
    tokens = SimpleNamespace(agent=agent, latent=lambda memory: {"tokens": memory.long()})
    assert latent_spaces(tokens) == {"tokens": Space((3,), "int64")}
    assert latent_spaces(SimpleNamespace(agent=agent, latent=lambda memory: ())) == {}


def test_an_update_needs_only_losses_and_scales():
    update = Update({"error": torch.zeros(2)}, {"error": 1.0})
    assert update.latents == ()
    assert dict(update.metrics) == {}


def test_where_no_latent_is_stored_a_sequence_starts_from_an_agent_that_sensed_nothing():
    def begin(batch, obs=None):
        return torch.full((batch, 2), 7.0) + obs["task"][:, None]

    learner = SimpleNamespace(
        agent=SimpleNamespace(begin=begin), latent=lambda memory: {"h": memory}
    )
    stored, known = {"h": torch.zeros(3, 2)}, torch.tensor([True, False, True])
    obs = {"task": torch.tensor([0, 1, 2])}  # what the first rows bring
    before = latents_before(learner, stored, known, obs)
    assert before["h"].tolist() == [[0, 0], [8, 8], [0, 0]]
    assert latents_before(learner, stored, torch.ones(3, dtype=torch.bool), obs) is stored
    assert latents_before(learner, (), known, obs) == ()
