"""Sizes that cannot work are refused with the numbers; all others survive JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from reverie.data.serial import from_json, to_json
from reverie.models.unisim import FlowConfig, HeadsConfig, UNetConfig, UniSimConfig
from reverie.models.unisim.config import TransformerConfig
from reverie.nn.spacetime import SpaceTimeConfig


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        (UNetConfig, {"channels": ()}, r"channels are \(\); give one multiple of 8"),
        (UNetConfig, {"channels": (16, 20)}, "multiple of 8"),
        (UNetConfig, {"channels": (0, 16)}, "multiple of 8"),
        (UNetConfig, {"blocks": 0}, "blocks is 0, patch 2 and attention 1"),
        (UNetConfig, {"patch": 0}, "patch 0"),
        (UNetConfig, {"attention": -1}, "attention -1"),
        (TransformerConfig, {"patch": 0}, "patch is 0"),
        (TransformerConfig, {"net": SpaceTimeConfig(window=None)}, "a state has one size"),
        (FlowConfig, {"drop": 1.5}, r"1\.5.*shares, 0 to 1"),
        (FlowConfig, {"silent": 1.1}, r"'silent': 1\.1.*shares, 0 to 1"),
        (FlowConfig, {"start": -0.1}, "shares, 0 to 1"),
        (FlowConfig, {"context": 2}, "shares, 0 to 1"),
        (FlowConfig, {"shortcut": -1}, "shares, 0 to 1"),
        (FlowConfig, {"unroll": 1.01}, "shares, 0 to 1"),
        (FlowConfig, {"steps": 0}, "steps is 0"),
        (FlowConfig, {"finest": 24}, "finest 24.*a power of two"),
        (FlowConfig, {"finest": 1}, "a power of two"),
        (FlowConfig, {"settle": -1}, "at least"),
        (HeadsConfig, {"members": 1}, "members 1; give .*0 or at least 2"),
        (HeadsConfig, {"members": -2}, "members -2"),
        (HeadsConfig, {"features": 0}, "features is 0"),
        (HeadsConfig, {"hidden": 0}, "hidden 0"),
        (UniSimConfig, {"frames": 0}, "frames is 0"),
        (UniSimConfig, {"width": 4}, "width 4"),
        (UniSimConfig, {"average": 1.0}, r"average 1\.0; .*average < 1"),
    ],
)
def test_what_cannot_work_is_refused(kind: Any, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        kind(**fields)


def test_a_config_survives_json() -> None:
    config = UniSimConfig(
        frames=2,
        backbone="transformer",
        unet=UNetConfig((8, 24), blocks=2),
        transformer=TransformerConfig(4, SpaceTimeConfig(width=32, window=5)),
        flow=replace(FlowConfig(), guidance=2.0, steps=4),
        heads=HeadsConfig(members=0, reward=False),
    )
    assert from_json(UniSimConfig, json.loads(json.dumps(to_json(config)))) == config
