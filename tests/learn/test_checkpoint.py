import json
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from reverie.learn.checkpoint import CheckpointError, Checkpoints, load, load_weights

ROOT = Path(__file__).parents[2]


def parts(seed=0):
    torch.manual_seed(seed)
    weights = torch.randn(3, 4)
    return {
        "model": {"a": weights, "tied": weights, "row": weights[1], "half": weights.bfloat16()},
        "rest": {
            "rng": np.random.default_rng(seed).bit_generator.state,
            "nested": [1, {"x": [torch.arange(3), None, True, "text", 0.1]}],
            "array": np.arange(4, dtype=np.uint8)[::2],
            "scalar": np.array(3.5),
            "empty": np.zeros((0, 3), np.float32),
            "number": np.float64(0.1),
        },
        "nothing": {},
    }


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_what_is_saved_is_what_is_loaded(tmp_path):
    given = parts()
    Checkpoints(tmp_path).save(given, "toy", {"counters": {"updates": 3}})
    saved = Checkpoints(tmp_path).latest()
    assert saved.family == "toy"
    assert saved.about == {"counters": {"updates": 3}}
    model, rest = saved.part("model"), saved.part("rest")
    for name, value in given["model"].items():
        assert model[name].dtype == value.dtype
        assert torch.equal(model[name], value)
    assert rest["rng"] == given["rest"]["rng"]
    assert torch.equal(rest["nested"][1]["x"].pop(0), torch.arange(3))
    assert rest["nested"] == [1, {"x": [None, True, "text", 0.1]}]
    assert isinstance(rest["array"], np.ndarray)
    assert rest["array"].tolist() == [0, 2]
    assert rest["scalar"].shape == ()
    assert rest["empty"].shape == (0, 3)
    assert rest["number"] == 0.1
    assert saved.part("nothing") == {}
    with pytest.raises(CheckpointError, match="no part 'optimiser'; it has model, rest, nothing"):
        saved.part("optimiser")


def test_there_is_no_pickle_in_a_checkpoint(tmp_path):
    path = Checkpoints(tmp_path).save(parts(), "toy", {})
    assert {p.suffix for p in path.iterdir()} == {".json", ".safetensors"}
    with pytest.raises(TypeError, match="thing holds a function"):
        Checkpoints(tmp_path).save({"rest": {"thing": parts}}, "toy", {})
    assert names(tmp_path) == [path.name]


def test_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for k in range(4):
        checkpoints.save(parts(k), "toy", {"k": k})
    assert names(tmp_path) == ["00000003", "00000004"]
    assert checkpoints.latest().about == {"k": 3}
    assert Checkpoints(tmp_path / "none").latest() is None


def spoil(path, how):
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-7])
    elif how == "flipped":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["truncated", "flipped", "missing"])
@pytest.mark.parametrize("file", ["model.safetensors", "rest.json", "manifest.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, file, how):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(parts(1), "toy", {"k": 1})
    newest = checkpoints.save(parts(2), "toy", {"k": 2})
    if (file, how) == ("manifest.json", "flipped"):
        (newest / file).write_text("{}")
    else:
        spoil(newest / file, how)
    with pytest.warns(UserWarning, match=file.replace(".", r"\.")):
        found = checkpoints.latest()
    assert found.about == {"k": 1}
    checkpoints.set_aside_after(found)
    assert names(tmp_path) == ["00000001", "00000002.damaged"]
    checkpoints.save(parts(3), "toy", {"k": 3})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoints.latest().about == {"k": 3}


def test_where_none_is_intact_the_error_says_so(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    spoil(checkpoints.save(parts(), "toy", {}) / "model.safetensors", "truncated")
    with (
        pytest.warns(UserWarning, match="Trying"),
        pytest.raises(
            CheckpointError, match=r"No intact .*model\.safetensors is damaged: \d+ byte"
        ),
    ):
        checkpoints.latest()


def test_another_family_and_another_format_are_refused(tmp_path):
    path = Checkpoints(tmp_path).save(parts(), "toy", {})
    with pytest.raises(CheckpointError, match="family 'toy', and 'dreamer' was asked for"):
        load(path).require_family("dreamer")
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        load(path)


def test_weights_of_other_shapes_are_refused_by_name(tmp_path):
    path = Checkpoints(tmp_path).save({"model": nn.Linear(3, 4).state_dict()}, "toy", {})
    weights = load(path).part("model")
    same = nn.Linear(3, 4)
    load_weights(same, weights)
    assert torch.equal(same.weight, weights["weight"])
    with pytest.raises(
        CheckpointError, match=r"weight has shape \(4, 3\) and this model has \(4, 5\)"
    ):
        load_weights(nn.Linear(5, 4), weights)
    with pytest.raises(CheckpointError, match="bias is not in this model"):
        load_weights(nn.Linear(3, 4, bias=False), weights)
    del weights["bias"]
    with pytest.raises(CheckpointError, match="bias is missing"):
        load_weights(nn.Linear(3, 4), weights)


def test_a_full_disk_is_a_clear_error_and_leaves_what_was_there(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(parts(), "toy", {"k": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # no file may grow beyond this
    try:
        with pytest.raises(CheckpointError, match=r"could not be written .* free some space"):
            checkpoints.save({"model": {"w": torch.zeros(100_000)}}, "toy", {"k": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["00000001"]
    assert checkpoints.latest().about == {"k": 1}
    checkpoints.save(parts(), "toy", {"k": 3})
    assert checkpoints.latest().about == {"k": 3}


KILLER = """
import itertools, os, random, signal, sys, time, torch
from reverie.learn.checkpoint import Checkpoints
chance, checkpoints = random.Random(0), Checkpoints(sys.argv[1])
for _ in range(6):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        for k in itertools.count(1):
            weights = torch.full((20_000,), float(k))
            checkpoints.save({"model": {"w": weights}, "rest": {"w": weights}}, "toy", {"k": k})
            os.write(writer, b"x")
    done = len(os.read(reader, 1) + os.read(reader, 1))
    time.sleep(chance.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    checkpoints.tidy()
    found = checkpoints.latest()
    assert found.about["k"] >= done, found.about
    for part in ("model", "rest"):
        assert found.part(part)["w"].unique().tolist() == [found.about["k"]]
    left = sorted(path.name for path in checkpoints.directory.iterdir())
    assert 1 <= len(left) <= 3 and all(name.isdigit() for name in left), left
print("intact")
"""


def test_a_kill_at_any_moment_leaves_an_intact_checkpoint(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", KILLER, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "intact\n", done.stderr


def test_a_part_may_write_itself_and_link_what_never_changes(tmp_path):
    source = tmp_path / "segment"
    source.write_bytes(b"x" * 1000)

    def write(directory):
        (directory / "segment").hardlink_to(source)
        (directory / "state.json").write_text("{}")

    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for _ in range(2):
        checkpoints.save({"replay": write, "rest": {}}, "toy", {})
    found = checkpoints.latest()
    assert (found.folder("replay") / "segment").read_bytes() == b"x" * 1000
    assert found.folder("replay").parent.name == "00000002"
    with pytest.raises(CheckpointError, match="no folder 'rest'"):
        found.folder("rest")
    (found.folder("replay") / "state.json").unlink()
    with pytest.warns(UserWarning, match=r"state\.json"):
        assert checkpoints.latest().path.name == "00000001"
    source.write_bytes(b"y" * 1000)  # what must not change has changed
    with (
        pytest.warns(UserWarning, match="Trying"),
        pytest.raises(CheckpointError, match=r"replay/segment is damaged: its checksum"),
    ):
        checkpoints.latest(folders=True)
