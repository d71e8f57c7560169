"""What a run sets for its process is undone after each test."""

import pytest
import torch


@pytest.fixture(autouse=True)
def settings_of_torch():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
