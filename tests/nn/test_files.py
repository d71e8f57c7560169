"""Two files that appear together or not at all, and are refused by name when damaged."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from reverie.nn.files import WeightsError, measured, read, write

ABOUT, TENSORS = "model.json", "model.safetensors"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor(3)}
    return write(tmp_path / "model", "some", {"config": {"width": 3}}, tensors)


def test_what_was_written_is_read(written: Path) -> None:
    about, tensors = read(written, "some")
    assert sorted(p.name for p in written.iterdir()) == [ABOUT, TENSORS]
    assert about["config"] == {"width": 3} and about["format"] == 1
    assert torch.equal(tensors["a"], torch.arange(6.0).reshape(2, 3).T)
    assert tensors["b"].item() == 3


def test_nothing_is_overwritten_and_nothing_is_left_half_written(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (written / TENSORS).read_bytes()
    with pytest.raises(WeightsError, match="not empty; give a new directory"):
        write(written, "some", {}, {})
    assert (written / TENSORS).read_bytes() == before

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reverie.nn.files._synced", full)
    with pytest.raises(WeightsError, match=r"could not be written to .*No space left"):
        write(written.with_name("other"), "some", {}, {"a": torch.zeros(2)})
    assert [p.name for p in written.parent.iterdir()] == ["model"]


def test_an_empty_directory_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert write(tmp_path / "model", "some", {}, {"a": torch.zeros(2)}) == tmp_path / "model"


def edited(change: Callable[[dict], object]) -> Callable[[Path], object]:
    def edit(model: Path) -> None:
        about = json.loads((model / ABOUT).read_text())
        change(about)
        (model / ABOUT).write_text(json.dumps(about))

    return edit


def shortened(name: str, keep: int) -> Callable[[Path], object]:
    return lambda m: (m / name).write_bytes((m / name).read_bytes()[:keep])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda m: (m / ABOUT).unlink(), r"No model is in .*model\.json is missing"),
        (lambda m: (m / TENSORS).unlink(), "safetensors is missing; copy both files"),
        (shortened(ABOUT, 30), r"model\.json is damaged"),
        (shortened(TENSORS, 0), "is damaged: it has 0 bytes"),
        (shortened(TENSORS, -1), "is damaged: it has"),
        (edited(lambda a: a.update(family="dreamer")), "family 'dreamer', not 'some'"),
        (edited(lambda a: a.update(format=2)), "has format 2, .*reads format 1"),
        (edited(lambda a: a.pop("weights")), r"model\.json is damaged: 'weights' is missing"),
        (edited(lambda a: a["weights"].update(sha256="0")), "its checksum is not the one"),
    ],
)
def test_damage_is_named(written: Path, harm: Callable[[Path], object], message: str) -> None:
    harm(written)
    with pytest.raises(WeightsError, match=message):
        read(written, "some")


def test_one_changed_byte_is_found(written: Path) -> None:
    whole = bytearray((written / TENSORS).read_bytes())
    whole[-3] ^= 1
    (written / TENSORS).write_bytes(whole)
    with pytest.raises(WeightsError, match="checksum"):
        read(written, "some")


def test_a_pickle_in_the_place_of_weights_is_not_opened(written: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (written / "opened",))

    (written / TENSORS).write_bytes(pickle.dumps(Trap()))
    edited(lambda a: a.update(weights=measured(written / TENSORS)))(written)
    with pytest.raises(WeightsError, match=r"model\.safetensors is damaged"):
        read(written, "some")
    assert not (written / "opened").exists()
