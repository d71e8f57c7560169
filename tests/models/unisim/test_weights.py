"""A model comes back bitwise, learns on as it would have, and what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie.core.spec import Space
from reverie.models.unisim import UniSim
from reverie.models.unisim.config import TransformerConfig
from reverie.models.unisim.weights import WeightsError, load, save
from reverie.nn.conditions import Part
from reverie.nn.files import measured
from reverie.nn.spacetime import SpaceTimeConfig
from tests.models.unisim import tiny

OBS = {**tiny.CAMERA, **tiny.POSE, **tiny.TEXT}
PARTS = (Part("arm", 0, 1), Part("hand", 1, 2))
NETS: dict[str, dict[str, Any]] = {
    "unet": {},
    "transformer": {
        "backbone": "transformer",
        "transformer": TransformerConfig(4, SpaceTimeConfig(16, 2, 2, window=3)),
    },
}


@pytest.mark.parametrize("backbone", NETS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_comes_back_bitwise(tmp_path: Path, backbone: str, dtype: torch.dtype) -> None:
    net = tiny.model(OBS, parts=PARTS, **NETS[backbone]).to(dtype)
    net.updates.fill_(41)
    back = load(save(net, tmp_path / "model"))
    assert (back.spec, back.config, back.parts) == (net.spec, net.config, net.parts)
    own, theirs = net.state_dict(), back.state_dict()
    assert own.keys() == theirs.keys()
    for name, x in own.items():
        assert torch.equal(theirs[name], x)
        assert theirs[name].dtype == x.dtype
    assert back.heads.reward is not None
    assert back.heads.reward.output.weight.dtype == dtype
    state = net.initial(2, {"text": torch.full((2, 12), 65, dtype=torch.uint8)})
    action, noise = torch.rand(2, 1, 2, dtype=dtype), net.noise(2)
    one, two = (m.step(state, action, noise) for m in (net, back))
    assert torch.equal(one.state.frames, two.state.frames)
    assert torch.equal(one.reward, two.reward)


def test_a_loaded_model_learns_on_as_it_would_have(tmp_path: Path) -> None:
    net = tiny.model(OBS)
    back = load(save(net, tmp_path / "model"))
    batch, noise = tiny.rows(net), net.training_noise(3, 6)
    for model in (net, back):
        losses, _ = model.loss(batch, model.initial(3), noise)
        sum(x.mean() for x in losses.values()).backward()
        with torch.no_grad():
            for p in model.parameters():
                if p.grad is not None:
                    p.sub_(0.1 * p.grad)
        model.after_update()
    for name, x in net.state_dict().items():
        assert torch.equal(back.state_dict()[name], x)


def test_loading_leaves_the_random_numbers_that_follow_alone(tmp_path: Path) -> None:
    save(tiny.model(), tmp_path / "model")
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    load(tmp_path / "model")
    assert torch.equal(torch.rand(3), expected)


def test_spaces_without_bounds_and_choices_are_kept(tmp_path: Path) -> None:
    action = Space((3,), discrete=True)
    made = UniSim({**tiny.CAMERA, "speed": Space((2,), unit="m/s")}, action, 0.25, tiny.config())
    assert load(save(made, tmp_path / "model")).spec == made.spec


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    save(tiny.model(), tmp_path / "model")
    with pytest.raises(WeightsError, match="not empty"):
        save(tiny.model(), tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(family="dreamer"), "family 'dreamer', not 'unisim'"),
        (lambda a: a["config"]["unet"].update(depth=3), "config.unet has no option depth"),
        (lambda a: a["config"]["flow"].update(finest=12), "a power of two"),
        (lambda a: a["config"].update(width=24), "do not fit their configuration"),
        (lambda a: a["config"].update(frames=2), "do not fit their configuration"),
        (lambda a: a["parts"][0].update(stop=2), "parts must divide the action"),
        (lambda a: a.pop("parts"), "'parts' is missing"),
        (lambda a: a["spec"].pop("dt"), "'dt' is missing"),
        (lambda a: a["spec"]["obs"].pop("image"), "predicts pictures"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    tmp_path: Path, change: Any, message: str
) -> None:
    path = save(tiny.model(OBS, parts=PARTS), tmp_path / "model") / "model.json"
    about = json.loads(path.read_text())
    change(about)
    assert about["weights"] == measured(tmp_path / "model" / "model.safetensors")
    path.write_text(json.dumps(about))
    with pytest.raises(WeightsError, match=message):
        load(tmp_path / "model")
