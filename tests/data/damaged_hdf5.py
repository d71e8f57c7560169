"""The same for the formats that are HDF5 files: Minari, robomimic and ALOHA."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np

from tests.data.damaged import SECRET, Payload, arrays, cut, damaged, edit

LENGTH = 20
MAIN = "main_data.hdf5"


def good_minari(place: Path) -> Path:
    """A Minari dataset of three episodes; returns its data file."""
    data = place / "data"
    data.mkdir(parents=True)

    def box(size):
        bounds = {"low": [-9.0] * size, "high": [9.0] * size}
        return json.dumps({"type": "Box", "dtype": "float32", "shape": [size], **bounds})

    said = {"data_format": "hdf5", "dataset_id": "toy/made-v0", "minari_version": "0.5.3"}
    said |= {"observation_space": box(2), "action_space": box(2), "total_episodes": 3}
    (data / "metadata.json").write_text(json.dumps(said))
    (place / "reverie.json").write_text('{"dt": 0.1}')
    with h5py.File(data / MAIN, "w") as file:
        for number in range(3):
            one, group = arrays(number), file.create_group(f"episode_{number}")
            group["observations"], group["actions"] = one["pose"], one["action"]
            group["rewards"] = one["reward"].astype(np.float64)
            group["terminations"], group["truncations"] = one["terminated"], one["terminated"]
    return data / MAIN


def good_robomimic(place: Path) -> Path:
    """A robomimic file of three demos."""
    place.mkdir(parents=True)
    with h5py.File(place / "demos.hdf5", "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "toy", "env_kwargs": {"control_freq": 10}})
        for number in range(3):
            one, group = arrays(number), data.create_group(f"demo_{number}")
            group["obs/pose"], group["next_obs/pose"] = one["pose"][:-1], one["pose"][1:]
            group["actions"], group["rewards"] = one["action"], one["reward"]
            group["dones"] = one["terminated"]
    return place / "demos.hdf5"


def good_aloha(place: Path) -> Path:
    """A folder of ALOHA's files; returns that of the second episode."""
    place.mkdir(parents=True)
    (place / "reverie.json").write_text('{"dt": 0.02}')
    for number in range(3):
        with h5py.File(place / f"episode_{number}.hdf5", "w") as file:
            one = arrays(number)
            file["action"], file["observations/qpos"] = one["action"], one["pose"][:-1]
    return place / "episode_1.hdf5"


GOOD = {"minari": good_minari, "robomimic": good_robomimic, "aloha": good_aloha}


def hdf5(format, name, *words):
    """Damages the file of a good dataset."""

    def add(change):
        def make(root: Path) -> Path:
            path = GOOD[format](root / "set")
            change(path)
            return path if format == "robomimic" else root / "set"

        return damaged(format, name, *words)(make)

    return add


def inside(format, name, *words):
    """Damages what is in the file."""

    def add(change):
        def inner(path: Path) -> None:
            with h5py.File(path, "a") as file:
                change(file, path.parent)

        return hdf5(format, name, *words)(inner)

    return add


PLACES = {
    # format: file, an episode's actions, its observations
    "minari": (MAIN, "episode_1/actions", "episode_1/observations"),
    "robomimic": ("demos.hdf5", "data/demo_1/actions", "data/demo_1/obs/pose"),
    "aloha": ("episode_1.hdf5", "action", "observations/qpos"),
}


def replaced(path: str, values):
    """The array at a path with other values; None takes it away."""

    def change(file, folder):
        del file[path]
        if values is not None:
            file[path] = values

    return change


def external(path: str):
    """A link to another file, where the array lies."""

    def change(file, folder):
        outside = folder.parent / "secret.hdf5"
        with h5py.File(outside, "w") as other:
            other["x"] = np.full(file[path].shape, SECRET, np.float32)
        del file[path]
        file[path] = h5py.ExternalLink(str(outside), "x")

    return change


def storage(path: str):
    """Values that lie in a plain file elsewhere."""

    def change(file, folder):
        outside, shape = folder.parent / "secret.raw", file[path].shape
        outside.write_bytes(np.full(shape, SECRET, np.float32).tobytes())
        del file[path]
        size = outside.stat().st_size
        file.create_dataset(path, shape, np.float32, external=[(str(outside), 0, size)])

    return change


def virtual(path: str):
    """Values that are put together from another file's."""

    def change(file, folder):
        outside, shape = folder.parent / "secret.hdf5", file[path].shape
        with h5py.File(outside, "w") as other:
            other["x"] = np.full(shape, SECRET, np.float32)
        del file[path]
        layout = h5py.VirtualLayout(shape, np.float32)
        layout[:] = h5py.VirtualSource(str(outside), "x", shape)
        file.create_virtual_dataset(path, layout)

    return change


def circle(path: str):
    """A link that leads to itself."""

    def change(file, folder):
        del file[path]
        file[path] = h5py.SoftLink("/" + path)

    return change


def pickled(path: str):
    """Opaque bytes that are a pickle."""

    def change(file, folder):
        import pickle

        blob = np.void(pickle.dumps(Payload(folder.parent)))
        del file[path]
        file.create_dataset(path, data=np.array([blob] * LENGTH))

    return change


def texts(path: str):
    """Texts of any length, which HDF5 keeps as objects."""

    def change(file, folder):
        del file[path]
        file[path] = ["__import__('os').mkdir('canary')"] * LENGTH

    return change


def huge(path: str):
    """An array that claims a petabyte and holds nothing."""

    def change(file, folder):
        del file[path]
        file.create_dataset(path, (LENGTH, 1 << 45), np.float32, chunks=(1, 1 << 20))

    return change


for _format, (_file, _actions, _seen) in PLACES.items():
    _rows = LENGTH + (_format == "minari")
    hdf5(_format, "a file that is cut", _file)(cut)
    hdf5(_format, "a file of noise", _file)(lambda p: p.write_bytes(bytes(range(256)) * 9))
    inside(_format, "a link to another file", _file, _seen, "secret.hdf5")(external(_seen))
    inside(_format, "values in another file", _file, _seen, "other files")(storage(_seen))
    inside(_format, "values from another file", _file, _actions, "other files")(virtual(_actions))
    inside(_format, "a link in a circle", _file, _seen)(circle(_seen))
    inside(_format, "a pickle as actions", _file, _actions)(pickled(_actions))
    inside(_format, "texts as actions", _file, _actions)(texts(_actions))
    inside(_format, "an array of a petabyte", _file, _seen.rsplit("/", 1)[-1])(huge(_seen))
    inside(_format, "an array that is missing", _file, _actions)(replaced(_actions, None))
    inside(_format, "an action one longer", _file)(
        replaced(_actions, np.zeros((LENGTH + 1, 2), np.float32))
    )
    inside(_format, "a sensor of another size", _file)(
        replaced(_seen, np.zeros((_rows, 5), np.float32))
    )
    inside(_format, "NaN in a sensor", "not finite", "_1, row 4")(
        replaced(_seen, np.where(np.arange(_rows)[:, None] == 4, np.nan, np.ones((_rows, 2))))
    )
    inside(_format, "one number as actions", _file, _actions)(replaced(_actions, 3.0))

inside("minari", "rewards that are shorter", MAIN, "episode_1")(
    replaced("episode_1/rewards", np.zeros(LENGTH - 3))
)
inside("minari", "no terminations", MAIN, "episode_1/terminations")(
    replaced("episode_1/terminations", None)
)
for _name, _words, _changes in (
    ("no space of observations", ["observation_space"], {"observation_space": None}),
    ("a space that is no JSON", ["action_space"], {"action_space": "Box(-1, 1)"}),
    ("an unknown space", ["action_space"], {"action_space": '{"type": "__import__"}'}),
    ("a negative space", ["action_space"], {"action_space": '{"type": "Discrete", "n": -3}'}),
    (
        "a space of a petabyte",
        ["action_space"],
        {"action_space": '{"type": "Discrete", "n": 99999999999999, "start": 0}'},
    ),
):
    hdf5("minari", _name, "metadata.json", *_words)(
        lambda p, c=_changes: edit(p.parent / "metadata.json", **c)
    )
hdf5("minari", "Arrow files that are HDF5", "episodes")(
    lambda p: edit(p.parent / "metadata.json", data_format="arrow")
)
hdf5("minari", "files of an unknown form", "metadata.json", "data_format", "zarr")(
    lambda p: edit(p.parent / "metadata.json", data_format="zarr")
)
hdf5("minari", "metadata that is cut", "metadata.json")(lambda p: cut(p.parent / "metadata.json"))
hdf5("minari", "no dt", "reverie.json", "dt")(lambda p: (p.parent.parent / "reverie.json").unlink())


def _env(text):
    def change(file, folder):
        file["data"].attrs["env_args"] = text

    return change


inside("robomimic", "env_args that are no JSON", "demos.hdf5", "env_args")(_env("{freq: 1"))
inside("robomimic", "a rate of zero", "dt")(_env('{"env_kwargs": {"control_freq": 0}}'))
inside("robomimic", "a rate that is a text", "dt")(_env('{"env_kwargs": {"control_freq": "x"}}'))
inside("robomimic", "a rate of infinity", "dt")(_env('{"env_kwargs": {"control_freq": Infinity}}'))
inside("robomimic", "a demo of another robot", "demos.hdf5", "data/demo_1")(
    replaced("data/demo_1/obs", None)
)
inside("robomimic", "rewards of another length", "demos.hdf5", "data/demo_1/rewards")(
    replaced("data/demo_1/rewards", np.zeros(7))
)


@hdf5("aloha", "a file that is a link out", "episode_1.hdf5", "link")
def _link(path):
    path.rename(path.parent.parent / "secret.hdf5")
    path.symlink_to(path.parent.parent / "secret.hdf5")
