"""What runs where Warp is there, and where it is not."""

import pytest

from reverie.physics import loading
from reverie.physics.backend import runner


@pytest.mark.parametrize(
    ("asked", "there", "runs"),
    [
        ("auto", True, "warp"),
        ("auto", False, "torch"),
        ("torch", True, "torch"),
        ("torch", False, "torch"),
    ],
)
def test_warp_runs_where_it_is_there_and_torch_was_not_asked_for(asked, there, runs, monkeypatch):
    monkeypatch.setattr(loading, "installed", lambda: there)
    assert runner(asked) == runs


def test_warp_that_is_asked_for_and_missing_is_said_at_once(monkeypatch):
    monkeypatch.setattr(loading, "installed", lambda: False)
    with pytest.raises(ModuleNotFoundError, match="pip install"):
        runner("warp")
