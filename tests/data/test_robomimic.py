import json

import h5py
import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.data import robomimic as reader
from reverie.data.datasets import ActionInfo, DatasetError, open_dataset

ENV = {
    "env_name": "Lift",
    "type": 1,
    "env_kwargs": {
        "control_freq": 20,
        "controller_configs": {"type": "OSC_POSE", "control_delta": True},
    },
}


def demo(number, steps):
    """The arrays of one demo; each is another for another number."""
    rng = np.random.default_rng([number, steps])
    seen = rng.standard_normal((steps + 1, 3))
    cam = rng.integers(0, 256, (steps + 1, 10, 12, 3), np.uint8)
    return {
        "obs/pose": seen[:-1],
        "obs/agentview_image": cam[:-1],
        "next_obs/pose": seen[1:],
        "next_obs/agentview_image": cam[1:],
        "actions": rng.uniform(-1, 1, (steps, 7)),
        "rewards": rng.random(steps),
        "dones": np.arange(steps) >= steps - 2,
        "states": np.zeros((steps, 40)),
    }


def write(path, lengths=(4, 3), env=ENV, without=(), extra=None):
    with h5py.File(path, "w") as file:
        group = file.create_group("data")
        if env is not None:
            group.attrs["env_args"] = json.dumps(env)
        for number, steps in enumerate(lengths):
            for name, values in demo(number, steps).items():
                if not name.startswith(tuple(without) or "?"):
                    group[f"demo_{number}/{name}"] = values
            group[f"demo_{number}"].attrs["num_samples"] = steps
        if extra is not None:
            extra(file)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lift.hdf5"


def test_demos(path):
    found = open_dataset(write(path, (4, 3, *[1] * 9)))
    assert isinstance(found, reader.Robomimic)
    assert dict(found.obs) == {
        "agentview_image": Space((3, 10, 12), "uint8", 0, 255),
        "pose": Space((3,)),
    }
    assert found.action == Space((7,))
    assert (found.about.dt, found.about.source) == (0.05, "Lift")
    assert found.about.action == ActionInfo("delta") and found.about.extra["env_args"] == ENV
    assert [e.name for e in found.episodes()] == [f"demo_{k}" for k in range(11)]
    for number, steps in ((0, 4), (1, 3)):
        its, rows = demo(number, steps), found.read(f"demo_{number}")
        assert found.episodes()[number].rows == steps + 1
        seen = np.concatenate([its["obs/pose"], its["next_obs/pose"][-1:]]).astype(np.float32)
        np.testing.assert_array_equal(rows["pose"], seen)
        cam = np.concatenate([its["obs/agentview_image"], its["next_obs/agentview_image"][-1:]])
        np.testing.assert_array_equal(rows["agentview_image"], cam.transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(rows["action"][1:], its["actions"].astype(np.float32))
        np.testing.assert_array_equal(rows["reward"][1:], its["rewards"].astype(np.float32))
        assert not rows["action"][0].any() and not rows["reward"][0]
        assert rows["first"].tolist() == [True] + [False] * steps
        assert rows["last"].tolist() == rows["terminated"].tolist() == [False] * steps + [True]
    found.close()


@pytest.mark.parametrize("without", [(), ("next_obs",), ("next_obs/pose",)])
def test_slices_are_those_of_the_whole(path, without):
    found = open_dataset(write(path, (5,), without=without))
    whole = found.read("demo_0")
    for start in range(7):
        for stop in range(start, 7):
            part = found.read("demo_0", start, stop)
            for name, values in whole.items():
                assert part[name].dtype == values.dtype
                np.testing.assert_array_equal(part[name], values[start:stop])


def test_without_next_obs_the_last_observation_is_repeated(path):
    rows = open_dataset(write(path, without=("next_obs",))).read("demo_0")
    assert len(rows["pose"]) == 5
    np.testing.assert_array_equal(rows["pose"][4], rows["pose"][3])
    np.testing.assert_array_equal(rows["agentview_image"][4], rows["agentview_image"][3])
    assert rows["terminated"][4] and rows["reward"][4]


@pytest.mark.parametrize("kept", ["next_obs", "rewards", "dones"])
def test_episodes_have_the_rows_that_are_read(path, kept):
    others = {"next_obs", "rewards", "dones"} - {kept}
    found = open_dataset(write(path, without=others))
    for listed, steps in zip(found.episodes(), (4, 3), strict=True):
        assert listed.rows == len(found.read(listed.name)["action"]) == steps + 1


def test_where_nothing_was_kept_after_the_last_action_it_has_no_row(path):
    found = open_dataset(write(path, without=("next_obs", "rewards", "dones")))
    rows = found.read("demo_0")
    assert found.episodes()[0].rows == 4 and rows["last"].tolist() == [False] * 3 + [True]
    np.testing.assert_array_equal(rows["action"][1:], demo(0, 4)["actions"][:3].astype(np.float32))
    assert not rows["reward"].any() and not rows["terminated"].any()


def test_dones_before_the_end_and_none_at_it(path):
    def never(file):
        file["data/demo_0/dones"][3] = False

    rows = open_dataset(write(path, extra=never)).read("demo_0")
    assert not rows["terminated"].any()


def test_only_what_is_wanted_is_read(path):
    def spoil(file):
        del file["data/demo_0/obs/agentview_image"]
        file["data/demo_0/obs/agentview_image"] = np.zeros((2, 10, 12, 3), np.uint8)

    found = open_dataset(write(path, extra=spoil))
    rows = found.read("demo_0", only=["pose"])
    assert set(rows) == {"pose", "action", "reward", "first", "last", "terminated"}
    with pytest.raises(DatasetError, match=r"agentview_image: it has 2 entries .* 4 actions"):
        found.read("demo_0")


def test_splits_and_tasks(path):
    def more(file):
        file["mask/train"] = np.array([b"demo_0"])
        file.create_dataset("mask/valid", data=["demo_1"], dtype=h5py.string_dtype())
        file["data"].attrs["problem_info"] = '{"language_instruction": "open the drawer"}'
        file["data/demo_1"].attrs["ep_meta"] = '{"lang": "close it"}'

    found = open_dataset(write(path, extra=more))
    assert found.about.extra["splits"] == {"train": ["demo_0"], "valid": ["demo_1"]}
    assert [e.task for e in found.episodes()] == ["open the drawer", "close it"]


@pytest.mark.parametrize(
    ("controller", "kind"),
    [
        ({"type": "OSC_POSE", "control_delta": False}, "absolute"),
        ({"type": "OSC_POSE"}, "unknown"),
        ({"type": "JOINT_VELOCITY"}, "velocity"),
        ({"type": "JOINT_TORQUE"}, "effort"),
        ({"type": "JOINT_POSITION"}, "unknown"),
        ("default", "unknown"),
    ],
)
def test_what_actions_mean_where_the_file_says_so(path, controller, kind):
    env = {"env_kwargs": {"control_freq": 20, "controller_configs": controller}}
    assert open_dataset(write(path, env=env)).about.action.kind == kind


def test_what_the_file_does_not_say_is_told_beside_it(path):
    write(path, env=None)
    with pytest.raises(DatasetError, match=r"lift\.reverie\.json, dt"):
        open_dataset(path)
    assert reader.open(path, dt=0.1).about.dt == 0.1
    told = {"dt": 0.25, "task": "lift", "action_space": {"low": -1, "high": 1}}
    (path.parent / "lift.reverie.json").write_text(json.dumps(told))
    found = open_dataset(path)
    assert found.about.dt == 0.25 and found.action == Space((7,), low=-1, high=1)
    assert found.episodes()[0].task == "lift"


def test_which_files_are_recognised(path, tmp_path):
    assert reader.recognises(write(path))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    assert not reader.recognises(tmp_path / "other.h5")
    assert not reader.recognises(tmp_path)
    assert not reader.recognises(tmp_path / "none.hdf5")


def spoiled(name, value):
    def change(file):
        if name in file:
            del file[name]
        if value is not None:
            file[name] = value

    return change


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("data/demo_1/actions", None, "data/demo_1/actions: it is missing"),
        ("data/demo_1/actions", np.zeros((3, 6)), "6 entries; the first episode has 7"),
        ("data/demo_1/rewards", np.zeros(2), "demo_1/rewards: it has 2 entries .* 3 actions"),
        ("data/demo_1/rewards", np.zeros((3, 2)), r"demo_1/rewards: its entries have shape \(2,\)"),
        ("data/demo_1/dones", np.zeros(9), "demo_1/dones: it has 9 entries"),
        (
            "data/demo_1/next_obs/pose",
            np.zeros((3, 2)),
            r"next_obs/pose: entries have shape \(2,\)",
        ),
        ("data/demo_1/obs/pose", np.zeros((3, 2)), r"'pose' is float32 \(2,\) here and"),
        ("data/demo_1/obs/extra", np.zeros((3, 2)), "'extra' is .* here and missing in the first"),
        ("data/demo_1/obs/pose", None, "'pose' is missing here"),
        ("data/demo_1/obs/pose", ["a"] * 3, "demo_1/obs/pose: it holds objects"),
        ("data/demo_1/obs/pose", np.zeros(3, "V4"), "demo_1/obs/pose: it holds structures"),
        ("data/demo_1/obs/pose", h5py.ExternalLink("x.h5", "/x"), "link to another file"),
        ("data/demo_1/obs/pose", h5py.SoftLink("/nowhere"), "obs/pose: it is missing"),
    ],
)
def test_damage_is_named_by_file_and_field(path, name, value, message):
    found = open_dataset(write(path, extra=spoiled(name, value)))
    found.read("demo_0")
    with pytest.raises(DatasetError, match=rf"lift\.hdf5, .*{message}"):
        found.read("demo_1")


def test_a_file_without_demos(path):
    write(path, (), extra=lambda file: file.create_group("data/other"))
    with pytest.raises(DatasetError, match="data: it has no demos"):
        open_dataset(path)
    found = open_dataset(write(path))
    for name in ("demo_7", "", "../demo_0", "demo_0/obs"):
        with pytest.raises(KeyError):
            found.read(name)
    with pytest.raises(IndexError):
        found.read("demo_0", 0, 6)
