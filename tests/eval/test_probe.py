"""A readout of features, on a world whose features are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.core.spec import Space, Spec
from reverie.eval.openloop import openloop
from reverie.eval.probe import probe
from tests.eval.worlds import POINT, Point, record

SILENT = Spec(POINT.obs, POINT.action, POINT.dt, provides=frozenset({"reward"}))


class Silent(Point):
    """The point, which shows nothing but mixed features of where it is and how fast."""

    feature_size = 3

    def __init__(self, blind: bool = False) -> None:
        super().__init__(spec=SILENT)
        self.blind = blind

    def features(self, state: Tensor) -> Tensor:
        x, v = state.unbind(1)
        known = torch.zeros_like(x) if self.blind else x
        return torch.stack([known + v, known - 2 * v + 1, v], 1)

    def decode(self, state: Tensor) -> Any:
        raise AssertionError("it shows nothing")


def test_what_the_features_hold_is_read_and_predicted() -> None:
    probed = probe(Silent(), record(30, 8))
    assert probed.share["position"] == pytest.approx(1, abs=1e-6)
    found = openloop(probed, record(12, 10, seed=1), observed=4, horizon=6).sensor("position")
    assert max(found.errors["mae"]["model"].mean) < 1e-3
    assert min(found.errors["mae"]["repeat"].mean) > 0.1


def test_what_they_do_not_hold_is_not_read() -> None:
    probed = probe(Silent(blind=True), record(60, 8))
    assert probed.share["position"] < 0.6
    assert set(probed.decode(torch.zeros(2, 2))) == {"position", "still"}


def test_rows_that_are_not_seen_decide_how_much_is_held() -> None:
    class Noise(Silent):
        feature_size = 64

        def features(self, state: Tensor) -> Tensor:
            return torch.randn(len(state), 64, generator=torch.Generator().manual_seed(0))

    assert probe(Noise(), record(12, 8)).share["position"] < 0.1


def test_pictures_and_models_without_features_are_left_out() -> None:
    spec = replace(SILENT, obs={**SILENT.obs, "camera": Space((1, 2, 2), "uint8")})
    model = Silent()
    model.spec = spec
    data = record(6, 8)
    obs = {**data.batch.obs, "camera": torch.zeros(6, 8, 1, 2, 2, dtype=torch.uint8)}
    probed = probe(model, data._replace(batch=data.batch._replace(obs=obs)))
    assert "camera" not in probed.decode(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="no features"):
        probe(Point(), record(6, 8))
    with pytest.raises(ValueError, match="2 are too few"):
        probe(Silent(), record(2, 8))
