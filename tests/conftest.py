"""What every test shares: one thread, and the same random numbers in every order of tests."""

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("reverie", derandomize=True, deadline=None, max_examples=100)
hypothesis.settings.load_profile("reverie")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
