"""A saved model comes back bitwise; a damaged or foreign one is refused with its name."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from reverie.models.dreamer.weights import (
    WeightsError,
    load,
    save,
)
from reverie.nn.files import measured
from tests.models.dreamer import tiny

ABOUT, TENSORS = "model.json", "model.safetensors"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save(tiny.model({**tiny.JOINTS, **tiny.CAMERA}), tmp_path / "model")


def edit(path: Path, change: Callable[[dict], object]) -> None:
    about = json.loads(path.read_text())
    change(about)
    path.write_text(json.dumps(about))


@pytest.mark.parametrize("latent", ["categorical", "gaussian"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_comes_back_bitwise(tmp_path: Path, latent: str, dtype: torch.dtype) -> None:
    obs = {**tiny.JOINTS, **tiny.CAMERA}
    net = tiny.model(obs, tiny.BUTTONS, latent=latent, kl="balanced").to(dtype)
    back = load(save(net, tmp_path / "model"))
    assert back.spec == net.spec and back.config == net.config
    assert back.state_dict().keys() == net.state_dict().keys()
    for name, x in net.state_dict().items():
        assert torch.equal(back.state_dict()[name], x) and back.state_dict()[name].dtype == dtype
    batch = tiny.rows(net)
    with torch.no_grad():
        assert torch.equal(tiny.mean_loss(net, batch), tiny.mean_loss(back, batch))


def test_the_files_are_json_and_safetensors_alone(saved: Path) -> None:
    assert sorted(p.name for p in saved.iterdir()) == [ABOUT, TENSORS]
    about = json.loads((saved / ABOUT).read_text())
    assert (about["format"], about["family"], about["spec"]["dt"]) == (1, "dreamer", 0.1)
    assert about["spec"]["obs"].keys() == {"joints", "camera"}
    assert about["config"]["latent"]["classes"] == 5


def test_loading_leaves_the_random_numbers_that_follow_alone(saved: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    load(saved)
    assert torch.equal(torch.rand(3), expected)


def test_nothing_is_overwritten_and_nothing_is_left_half_written(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (saved / TENSORS).read_bytes()
    with pytest.raises(WeightsError, match="not empty; give a new directory"):
        save(tiny.model(), saved)
    assert (saved / TENSORS).read_bytes() == before

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reverie.nn.files._synced", full)
    with pytest.raises(WeightsError, match=r"could not be written to .*No space left"):
        save(tiny.model(), saved.with_name("other"))
    assert [p.name for p in saved.parent.iterdir()] == ["model"]


def test_an_empty_directory_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert load(save(tiny.model(), tmp_path / "model")).spec.dt == 0.1


def test_no_model(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"No model is in .*model\.json is missing"):
        load(tmp_path)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_truncated_weights_are_found(saved: Path, keep: int) -> None:
    whole = (saved / TENSORS).read_bytes()
    (saved / TENSORS).write_bytes(whole[:keep])
    with pytest.raises(WeightsError, match=rf"damaged: it has \d+ bytes, {len(whole)} were"):
        load(saved)


def test_one_changed_byte_is_found(saved: Path) -> None:
    whole = bytearray((saved / TENSORS).read_bytes())
    whole[-3] ^= 1
    (saved / TENSORS).write_bytes(whole)
    with pytest.raises(WeightsError, match="checksum"):
        load(saved)


def test_a_pickle_in_the_place_of_weights_is_not_opened(saved: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (saved / "opened",))

    (saved / TENSORS).write_bytes(pickle.dumps(Trap()))
    remeasure(saved)
    with pytest.raises(WeightsError, match=r"model\.safetensors is damaged"):
        load(saved)
    assert not (saved / "opened").exists()


def remeasure(saved: Path) -> None:
    """Make size and checksum those of the weights that are there."""
    edit(saved / ABOUT, lambda a: a.update(weights=measured(saved / TENSORS)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(family="tdmpc2"), "family 'tdmpc2', not 'dreamer'"),
        (lambda a: a.update(format=2), "has format 2, .*reads format 1"),
        (lambda a: a.pop("family"), r"model\.json is damaged: 'family' is missing"),
        (lambda a: a["spec"].pop("action"), "'action' is missing"),
        (lambda a: a["spec"]["obs"]["joints"].pop("shape"), "'shape' is missing"),
        (lambda a: a["config"].update(width=3), "config has no option width"),
        (lambda a: a["config"]["cell"].update(deter="wide"), "config.cell.deter is 'wide'"),
        (lambda a: a["config"]["latent"].update(kind="vq"), "config.latent.kind is 'vq'; choose"),
        (lambda a: a["weights"].pop("sha256"), "'sha256' is missing"),
        (lambda a: a["spec"].update(obs=[1]), r"model\.json is damaged"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    saved: Path, change: Callable[[dict], object], message: str
) -> None:
    edit(saved / ABOUT, change)
    with pytest.raises(WeightsError, match=message):
        load(saved)


def test_a_truncated_description_is_found(saved: Path) -> None:
    (saved / ABOUT).write_text((saved / ABOUT).read_text()[:-40])
    with pytest.raises(WeightsError, match=r"model\.json is damaged"):
        load(saved)


def test_weights_without_their_file_are_asked_for(saved: Path) -> None:
    (saved / TENSORS).unlink()
    with pytest.raises(WeightsError, match=r"safetensors is missing; copy both files"):
        load(saved)


def test_names_and_shapes_must_be_those_of_the_configuration(saved: Path) -> None:
    tensors = load_file(saved / TENSORS)
    tensors["rssm.cell.mix"] = tensors["rssm.cell.mix"][:, 1:].contiguous()
    tensors["rssm.cell.blend"] = tensors.pop("rssm.cell.gain")
    save_file(tensors, saved / TENSORS)
    remeasure(saved)
    with pytest.raises(WeightsError) as caught:
        load(saved)
    for part in (
        "rssm.cell.gain is missing",
        "rssm.cell.blend is not in this model",
        "rssm.cell.mix has shape (24, 15) and this model has (24, 16)",
    ):
        assert part in str(caught.value)
