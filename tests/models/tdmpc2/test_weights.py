"""A model comes back bitwise; published names and shapes map to ours and back, or are refused."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from reverie.core.spec import Space
from reverie.models.tdmpc2 import TDMPC2, Task, TDMPC2Config, sized
from reverie.models.tdmpc2.weights import WeightsError, convert, export, load, save
from reverie.nn.files import measured
from tests.models.tdmpc2 import tiny

LAYER = ("weight", "bias", "ln.weight", "ln.bias")


# -------------------------------------------------------------------------------------------------
# Files


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_comes_back_bitwise(tmp_path: Path, several: bool, dtype: torch.dtype) -> None:
    obs = {**tiny.JOINTS, **tiny.CAMERA}
    net = tiny.model(obs, tiny.TASKS if several else (), episodic=True).to(dtype)
    net.range.fill_(3.5)
    back = load(save(net, tmp_path / "model"))
    assert (back.spec, back.config, back.tasks) == (net.spec, net.config, net.tasks)
    assert back.state_dict().keys() == net.state_dict().keys()
    for name, x in net.state_dict().items():
        assert torch.equal(back.state_dict()[name], x) and back.state_dict()[name].dtype == dtype
    batch = tiny.rows(net, length=6)
    one, two = (m.loss(batch, m.initial(4), ()).losses for m in (net, back))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_loading_leaves_the_random_numbers_that_follow_alone(tmp_path: Path) -> None:
    save(tiny.model(), tmp_path / "model")
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    load(tmp_path / "model")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(family="dreamer"), "family 'dreamer', not 'tdmpc2'"),
        (lambda a: a["config"]["net"].update(depth=3), "config.net has no option depth"),
        (lambda a: a["config"]["net"].update(latent=15), "multiple of group=4"),
        (lambda a: a["config"]["net"].update(width=17), "do not fit their configuration"),
        (lambda a: a.pop("tasks"), "'tasks' is missing"),
        (lambda a: a["spec"].pop("action"), "'action' is missing"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    tmp_path: Path, change: Any, message: str
) -> None:
    path = save(tiny.model(), tmp_path / "model") / "model.json"
    about = json.loads(path.read_text())
    change(about)
    assert about["weights"] == measured(tmp_path / "model" / "model.safetensors")
    path.write_text(json.dumps(about))
    with pytest.raises(WeightsError, match=message):
        load(tmp_path / "model")


# -------------------------------------------------------------------------------------------------
# Published names


def manifest(
    size: str, actions: int = 6, vector: int = 24, tasks: int = 0, pixels: bool = False
) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a published checkpoint with a termination head, as written there."""
    net = sized(size).net
    embedding = net.task if tasks else 0
    read = net.latent + embedding
    shapes: dict[str, tuple[int, ...]] = {"log_std_min": (), "log_std_dif": ()}

    def mlp(name: str, widths: list[int], norm_last: bool = False, lead: tuple = ()) -> None:
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            shapes[f"{name}.{i}.weight"] = (*lead, outputs, inputs)
            shapes[f"{name}.{i}.bias"] = (*lead, outputs)
            if norm_last or i < len(widths) - 2:
                shapes[f"{name}.{i}.ln.weight"] = shapes[f"{name}.{i}.ln.bias"] = (*lead, outputs)

    inner = [net.width, net.width]
    if pixels:
        for i, kernel in ((2, 7), (4, 5), (6, 3), (8, 3)):
            inputs = 9 if i == 2 else 32
            shapes[f"_encoder.rgb.{i}.weight"] = (32, inputs, kernel, kernel)
            shapes[f"_encoder.rgb.{i}.bias"] = (32,)
    else:
        hidden = [net.encoder] * (net.encoder_layers - 1)
        mlp("_encoder.state", [vector + embedding, *hidden, net.latent], norm_last=True)
    mlp("_dynamics", [read + actions, *inner, net.latent], norm_last=True)
    mlp("_reward", [read + actions, *inner, 101])
    mlp("_termination", [read, *inner, 1])
    mlp("_pi", [read, *inner, 2 * actions])
    for name in ("_Qs.params", "_detach_Qs_params", "_target_Qs_params"):
        mlp(name, [read + actions, *inner, 101], lead=(net.heads,))
    if tasks:
        shapes |= {"_task_emb.weight": (tasks, 96), "_action_masks": (tasks, actions)}
    return shapes


def checkpoint(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Random tensors of those shapes, with the entries that are no tensors."""
    made: dict[str, Any] = {name: torch.randn(shape) for name, shape in shapes.items()}
    made |= {"log_std_min": torch.tensor(-10.0), "log_std_dif": torch.tensor(12.0)}
    made |= {"_Qs.params.__batch_size": torch.Size([2]), "_Qs.params.__device": None}
    for name in [name for name in made if name.startswith("_detach")]:
        made[name] = made[name.replace("_detach_Qs_params", "_Qs.params")].clone()
    return made


def model(size: str = "1m", **parts: Any) -> TDMPC2:
    obs = {"x": Space((24,))}
    config = sized(size, TDMPC2Config(episodic=True))
    return TDMPC2(obs, Space((6,)), 0.05, config, **parts)


def test_a_published_manifest_is_the_one_that_was_measured() -> None:
    """A few of the names and shapes that the published code prints for size 1M."""
    shapes = manifest("1m", tasks=3)
    assert shapes["_encoder.state.0.weight"] == (256, 120)
    assert shapes["_encoder.state.1.ln.bias"] == (128,)
    assert shapes["_dynamics.2.ln.weight"] == (128,)
    assert shapes["_pi.2.weight"] == (12, 384) and "_pi.2.ln.weight" not in shapes
    assert shapes["_Qs.params.2.weight"] == (2, 101, 384)
    assert shapes["_target_Qs_params.0.ln.bias"] == (2, 384)
    assert len(shapes) == 84


@pytest.mark.parametrize("size", ["1m", "5m"])
def test_a_checkpoint_goes_to_ours_and_back(size: str) -> None:
    net, given = model(size), checkpoint(manifest(size))
    net.load_state_dict(convert({"model": given}, net))
    back = export(net)
    assert back.keys() == manifest(size).keys()
    for name, x in back.items():
        assert torch.equal(x, given[name]), name


def test_the_network_computes_with_what_it_was_given() -> None:
    net, given = model(), checkpoint(manifest("1m"))
    net.load_state_dict(convert(given, net))
    z, action = torch.rand(3, 128), torch.rand(3, 6)

    def run(name: str, x: torch.Tensor, layers: int, k: int | None = None) -> torch.Tensor:
        for i in range(layers):
            part = [given.get(f"{name}.{i}.{p}") for p in LAYER]
            w, b, gain, shift = [p if k is None or p is None else p[k] for p in part]
            x = F.linear(x, w, b)
            if gain is not None:
                x = F.mish(F.layer_norm(x, x.shape[-1:], gain, shift))
        return x

    x = torch.cat([z, action], -1)
    for own, expected in (
        (net.reward(x), run("_reward", x, 3)),
        (net.termination(z), run("_termination", z, 3)),
        (net.policy.net(z), run("_pi", z, 3)),
        (net.q(x)[1], run("_Qs.params", x, 3, 1)),
        (net.target(x)[0], run("_target_Qs_params", x, 3, 0)),
    ):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-3)


def test_several_tasks_and_pixels_have_their_names() -> None:
    tasks = [Task(str(n), n) for n in (6, 4, 2)]
    net, given = model(tasks=tasks), checkpoint(manifest("1m", tasks=3))
    given["_action_masks"] = net.masks.clone()
    net.load_state_dict(convert(given, net))
    assert torch.equal(net.embeddings, given["_task_emb.weight"])
    assert export(net).keys() == manifest("1m", tasks=3).keys()
    given["_action_masks"] = torch.ones(3, 6)
    with pytest.raises(WeightsError, match="The checkpoint has _action_masks"):
        convert(given, net)

    config = sized("5m", TDMPC2Config(episodic=True))
    camera = {"camera": Space((3, 64, 64), "uint8")}
    net, given = TDMPC2(camera, Space((6,)), 0.05, config), checkpoint(manifest("5m", pixels=True))
    net.load_state_dict(convert(given, net))
    assert torch.equal(
        net.encoder.cameras["camera"].convolutions[3].weight, given["_encoder.rgb.8.weight"]
    )
    assert export(net).keys() == manifest("5m", pixels=True).keys()


def test_older_checkpoints_number_the_parameters_of_ensembles() -> None:
    net, given = model(), checkpoint(manifest("1m"))
    new = convert(given, net)
    old = {k: x for k, x in given.items() if "_Qs" not in k}
    old["_action_masks"] = torch.ones(1, 6)  # there with one task, too
    for i in range(3):
        for j, part in enumerate(LAYER[: 4 if i < 2 else 2]):
            old[f"_Qs.params.{4 * i + j}"] = given[f"_Qs.params.{i}.{part}"]
            old[f"_target_Qs.params.{4 * i + j}"] = given[f"_target_Qs_params.{i}.{part}"]
    read = convert(old, net)
    assert read.keys() == new.keys() and all(torch.equal(read[k], new[k]) for k in new)


def test_what_does_not_fit_is_said_by_its_published_name() -> None:
    net, given = model(), checkpoint(manifest("1m"))
    given["_reward.0.weight"] = torch.zeros(384, 135)
    given["_reward.2.scale"] = given.pop("_reward.2.bias")
    with pytest.raises(WeightsError) as caught:
        convert(given, net)
    for part in (
        "_reward.2.bias is missing",
        "_reward.2.scale is not in this model",
        "_reward.0.weight has shape (384, 135) and this model has (384, 134)",
    ):
        assert part in str(caught.value)
    given = checkpoint(manifest("1m"))
    given["log_std_min"] = torch.tensor(-5.0)
    with pytest.raises(WeightsError, match=r"log_std_min = -5\.0 and this model -10\.0"):
        convert(given, net)
    plain = TDMPC2({"x": Space((24,))}, Space((6,)), 0.05, sized("1m"))
    with pytest.raises(WeightsError, match=r"use TDMPC2Config\(episodic=True\)"):
        convert(checkpoint(manifest("1m")), plain)


def test_a_model_that_joins_sensors_has_no_published_names() -> None:
    net = tiny.model({**tiny.JOINTS, **tiny.CAMERA})
    with pytest.raises(WeightsError, match=r"vectors or one camera.*\['camera', 'joints'\]"):
        export(net)
