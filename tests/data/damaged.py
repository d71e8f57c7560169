"""Datasets of every format that are damaged or hostile, each in one way.

A `Damage` makes one in a directory. `words` must all be in what is said of it: the file, the field.
Hostile ones try to make the directory `canary` beside the dataset, or to read `SECRET` from there.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reverie.core.spec import Space
from reverie.data.store import EpisodeStore
from tests.data import rows
from tests.data.lerobot import made

SECRET = 424242.0
DATA = "data/chunk-000/file-000.parquet"
FILM = f"videos/{made.CAMERAS[0]}/chunk-000/file-000.mp4"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
INFO = "meta/info.json"


@dataclass(frozen=True)
class Damage:
    """One way to damage a dataset."""

    format: str
    name: str
    words: tuple[str, ...]
    make: Callable[[Path], Path]
    """From a directory to the place to open, inside it."""


DAMAGES: list[Damage] = []


def damaged(format: str, name: str, *words: str):
    """A function that makes or damages a dataset in a directory, as one of `DAMAGES`."""

    def add(make):
        DAMAGES.append(Damage(format, name, words, make))
        return make

    return add


class Payload:
    """Unpickled, it makes the directory `canary` in `path`."""

    def __init__(self, path: Path) -> None:
        self.path = str(path / "canary")

    def __reduce__(self):
        return os.mkdir, (self.path,)


def cut(path: Path, share: float = 0.6) -> None:
    """The file without its end."""
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


def mangle(place: Path, rng: np.random.Generator) -> str:
    """Damage a random file below a directory at a random place; says which and how."""
    path = rng.choice(sorted(p for p in place.rglob("*") if p.is_file() and p.stat().st_size))
    data = bytearray(path.read_bytes())
    at, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
    how = str(rng.choice(["bit", "bytes", "cut", "zeros", "twice"]))
    if how == "bit":
        data[at] ^= 1 << int(rng.integers(8))
    elif how == "bytes":
        for each in rng.integers(len(data), size=20):
            data[each] = int(rng.integers(256))
    elif how == "cut":
        del data[at:]
    elif how == "zeros":
        data[at : at + length] = bytes(len(data[at : at + length]))
    else:
        data[at:at] = data[at : at + length]
    path.write_bytes(bytes(data))
    return f"{how} in {path.relative_to(place)} at {at}"


def edit(path: Path, **changes) -> None:
    """Some fields of a JSON file; None takes a field away."""
    value = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in value.items() if v is not None}))


# -------------------------------------------------------------------------------------------------
# LeRobot


def lerobot(name, *words, old=False, **about):
    """Damages the files of a good LeRobot dataset."""

    def add(change):
        def make(root: Path) -> Path:
            place = root / "set"
            (made.old if old else made.new)(place, **about)
            change(place)
            return place

        return damaged("lerobot v2.1" if old else "lerobot v3.0", name, *words)(make)

    return add


def column(place: Path, name: str, values, file: str = DATA) -> None:
    """Replace one column of a table; None drops it."""
    table = pq.read_table(place / file)
    at = table.column_names.index(name)
    table = table.remove_column(at) if values is None else table.set_column(at, name, values)
    pq.write_table(table, place / file)


def info_damage(name, words, old=False, **changes):
    """Changed fields of info.json."""
    lerobot(name, "info.json", *words, old=old)(lambda place: edit(place / INFO, **changes))


for _field in ("fps", "features", "codebase_version", "data_path", "video_path", "total_episodes"):
    info_damage(f"info without {_field}", [_field], **{_field: None})
info_damage("version of the future", ["codebase_version", "v9.9"], codebase_version="v9.9")
info_damage("zero fps", ["fps"], fps=0)
info_damage("negative fps", ["fps"], fps=-10)
info_damage("fps that is a text", ["fps"], fps="fast")
info_damage("fps NaN", ["fps"], fps=float("nan"))
info_damage("features that are a list", ["features"], features=[])
info_damage("template that leads up", ["data_path", "../../x"], data_path="../../x.parquet")
info_damage("template that is absolute", ["data_path"], data_path="/etc/passwd")
info_damage("template up inside", ["data_path"], data_path="data/{file_index}/../../../x.parquet")
info_damage("film template up", ["video_path"], video_path="../{video_key}/{file_index}.mp4")
info_damage(
    "template that reaches attributes",
    ["data_path", "__class__"],
    data_path="{chunk_index.__class__.__mro__}/{file_index}.parquet",
)
info_damage(
    "template with an index", ["data_path"], data_path="{chunk_index[0]}/{file_index}.parquet"
)
info_damage(
    "template of a terabyte", ["data_path"], data_path="{file_index:0999999999999d}.parquet"
)
info_damage("old template up", ["data_path"], old=True, data_path="../{episode_index}.parquet")
info_damage("chunks of no size", ["chunks_size"], old=True, chunks_size=0)
info_damage("more episodes than there are", ["total_episodes"], total_episodes=9)


def _feature(key, **changes):
    def change(place):
        features = json.loads((place / INFO).read_text())["features"]
        features[key] |= changes
        edit(place / INFO, features=features)

    return change


lerobot("state of another size", DATA, "observation.state")(
    _feature("observation.state", shape=[4])
)
lerobot("action one entry longer", DATA, "action")(_feature("action", shape=[3]))
lerobot("a negative shape", "info.json", "action.shape")(_feature("action", shape=[-2]))
lerobot("a shape of a petabyte", "action")(_feature("action", shape=[1 << 30, 1 << 20]))
lerobot("pictures of another size", "mp4", "top")(
    _feature(made.CAMERAS[0], shape=[made.H * 2, made.W, 3])
)
lerobot("info that is no JSON", "info.json", "JSON")(lambda p: cut(p / INFO))
lerobot("info nested too deep", "info.json", "JSON")(lambda p: (p / INFO).write_text("[" * 100_000))
lerobot("a table that is missing", "file-001.parquet", "missing")(
    lambda p: (p / "data/chunk-000/file-001.parquet").unlink()
)
lerobot("a table that is cut", DATA)(lambda p: cut(p / DATA))
lerobot("a table of noise", DATA)(lambda p: (p / DATA).write_bytes(bytes(range(256)) * 20))
lerobot("a column that is missing", DATA, "action")(lambda p: column(p, "action", None))
lerobot("a film that is missing", FILM, "missing")(lambda p: (p / FILM).unlink())
lerobot("a film that is cut", FILM)(lambda p: cut(p / FILM))
lerobot("a film of noise", FILM)(lambda p: (p / FILM).write_bytes(bytes(range(256)) * 20))
lerobot("a film that is another rate", "mp4", "fps", film_options={"fps": 25})(lambda p: None)
lerobot("episodes that are missing", "meta/episodes")(lambda p: shutil.rmtree(p / "meta/episodes"))
lerobot("episodes that are cut", EPISODES)(lambda p: cut(p / EPISODES))
lerobot("tasks that are cut", "tasks.parquet")(lambda p: cut(p / "meta/tasks.parquet"))
for _name, _field, _values in (
    ("a negative length", "length", [-6, 9, 7]),
    ("lengths that overlap", "length", [9, 9, 7]),
    ("a length of an exabyte", "length", [1 << 60, 9, 7]),
    ("an episode that is there twice", "episode_index", [0, 0, 2]),
    ("a file before the first", "data/file_index", [-1, 0, 1]),
    ("a file that is a path", "data/file_index", ["../../x", "0", "1"]),
    ("lengths that are NaN", "length", [float("nan"), 9.0, 7.0]),
):
    lerobot(_name, "episode" if _name == "lengths that overlap" else _field)(
        lambda p, f=_field, v=_values: column(p, f, pa.array(v), EPISODES)
    )
lerobot("a start of a film that is NaN", "from_timestamp")(
    lambda p: column(
        p, f"videos/{made.CAMERAS[0]}/from_timestamp", pa.array([0.0, float("nan"), 0.0]), EPISODES
    )
)
lerobot("lines of episodes cut", "episodes.jsonl", old=True)(
    lambda p: cut(p / "meta/episodes.jsonl")
)
lerobot("a line of episodes that is a list", "episodes.jsonl", "line 1", old=True)(
    lambda p: (p / "meta/episodes.jsonl").write_text("[]\n")
)
lerobot("an episode of negative length", "episodes.jsonl", "length", old=True)(
    lambda p: (p / "meta/episodes.jsonl").write_text('{"episode_index": 0, "length": -4}\n')
)
lerobot("a film of an episode missing", "episode_000001.mp4", "missing", old=True)(
    lambda p: (p / f"videos/chunk-000/{made.CAMERAS[0]}/episode_000001.mp4").unlink()
)


@lerobot("NaN in the state", "not finite", "state", "episode_000001", "row 2")
def _nan(place):
    state = np.concatenate([made.state(e, n) for e, n in ((0, 6), (1, 9))])
    state[8] = np.nan
    column(place, "observation.state", pa.FixedSizeListArray.from_arrays(state.ravel(), 3))


@lerobot("a pickle where numbers should be", DATA, "observation.state")
def _pickle(place):
    import pickle

    blob = pickle.dumps(Payload(place.parent))
    column(place, "observation.state", pa.array([blob] * 15, pa.binary()))


@lerobot("texts where numbers should be", DATA, "action")
def _texts(place):
    column(place, "action", pa.array(["__import__('os').mkdir('canary')"] * 15))


PICTURE = made.CAMERAS[0]


def _pictures(place, **cell):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cell = {"bytes": None, "path": None} | cell
    column(place, PICTURE, pa.array([cell] * 15, kind))


lerobot("pictures of noise", DATA, PICTURE, kind="image")(
    lambda p: _pictures(p, bytes=bytes(range(256)) * 4)
)
lerobot("pictures of a pickle", DATA, PICTURE, kind="image")(
    lambda p: _pictures(p, bytes=b"\x80\x04cos\nmkdir\n(Vcanary\ntR.")
)
lerobot("pictures that are elsewhere", DATA, PICTURE, kind="image")(
    lambda p: _pictures(p, path="../../../secret.png")
)
lerobot("pictures cut", DATA, PICTURE, kind="image")(
    lambda p: _pictures(p, bytes=made.png(made.picture(0, 0))[:80])
)
lerobot("a picture of another size", DATA, PICTURE, kind="image")(
    lambda p: _pictures(p, bytes=made.png(made.picture(0, 0)[:-2]))
)


# -------------------------------------------------------------------------------------------------
# The episode store


def record(target: EpisodeStore, number: int, spoil: int = -1) -> None:
    """One episode of 40 rows; in row `spoil` the pose has a NaN."""
    for t, row in enumerate(rows.episode(target.schema.obs, 0, number, 40)):
        row["action"] = np.tanh(row["action"])
        if t == spoil:
            row["pose"][1] = np.nan
        target.append(0, row)


def good_store(place: Path) -> None:
    """A store of three episodes."""
    obs = {"pose": Space((3,)), "front": Space((3, 24, 20), "uint8")}
    with rows.stored(place, obs, meta={"dt": 0.1}) as target:
        for number in range(3):
            record(target, number)


def good_folder(place: Path, films: bool = False) -> None:
    """A folder of three episodes."""
    place.mkdir(parents=True)
    for number in range(3):
        np.savez(place / f"e{number}.npz", **arrays(number))
        if films:
            pictures = [made.picture(number, t) for t in range(21)]
            made.film(str(place / f"e{number}.front.mp4"), pictures)


def store(name, *words):
    """Damages the files of a good episode store."""

    def add(change):
        def make(root: Path) -> Path:
            place = root / "set"
            good_store(place)
            change(place)
            return place

        return damaged("store", name, *words)(make)

    return add


def part(place: Path) -> Path:
    """The file of the second episode."""
    return sorted(p for p in place.iterdir() if p.suffix not in (".json", "") and p.is_file())[1]


def flip(path: Path, share: float) -> None:
    """One bit of a file."""
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 16
    path.write_bytes(data)


def _schema(name, *words, **changes):
    store(name, "store.json", *words)(lambda p: edit(p / "store.json", **changes))


_schema("a store of another version", "reverie.store/1", format="reverie.store/7")
_schema("a store without dt", "dt", meta={})
_schema("a store with a dt of zero", "dt", meta={"dt": 0})
_schema("a store without sensors' spaces", "obs", obs=None)
_schema("a store with a negative shape", "shape", action=Space((2,)).to_json() | {"shape": [-2]})
_schema("a store of a strange dtype", "dtype", action=Space((2,)).to_json() | {"dtype": "object"})
_schema(
    "actions that mean nothing known", "meta.action", meta={"dt": 0.1, "action": {"kind": "magic"}}
)
_schema("tasks that are no object", "episode_tasks", meta={"dt": 0.1, "episode_tasks": ["lift"]})
store("a schema that is cut", "store.json")(lambda p: cut(p / "store.json"))
store("a part that is cut", "0000-00000001")(lambda p: cut(part(p)))
store("a corrupt block", "0000-00000001")(lambda p: flip(part(p), 0.9))
store("a corrupt header", "0000-00000001")(lambda p: flip(part(p), 0.01))


@store("NaN in a store", "not finite", "pose", "0000-00000003", "row 7")
def _store_nan(place):
    with EpisodeStore(place, EpisodeStore.open(place).schema.obs, rows.ACTION) as target:
        record(target, 3, spoil=7)


# -------------------------------------------------------------------------------------------------
# A folder of npz and mp4


def arrays(number: int, length: int = 20) -> dict[str, np.ndarray]:
    """One episode as arrays, with pose T + 1 long."""
    rng = np.random.default_rng(number)
    action = rng.uniform(-1, 1, (length, 2)).astype(np.float32)
    pose = np.cumsum(np.concatenate([rng.standard_normal((1, 2)), 0.1 * action]), 0)
    return {
        "action": action,
        "reward": pose[1:, 0].astype(np.float32),
        "terminated": np.zeros(length, bool),
        "pose": pose.astype(np.float32),
        "dt": np.float64(0.1),
    }


def folder(name, *words, films=False):
    """Damages the files of a good folder."""

    def add(change):
        def make(root: Path) -> Path:
            place = root / "set"
            good_folder(place, films)
            change(place)
            return place

        return damaged("folder", name, *words)(make)

    return add


def again(**changes):
    """e1.npz anew, with changed arrays; None takes one away."""

    def change(place: Path) -> None:
        new = {n: v for n, v in (arrays(1) | changes).items() if v is not None}
        np.savez(place / "e1.npz", **new)

    return change


def entry(name: str, content: bytes):
    """Another entry in e1.npz."""

    def change(place: Path) -> None:
        with warnings.catch_warnings(), zipfile.ZipFile(place / "e1.npz", "a") as archive:
            warnings.simplefilter("ignore")  # of two entries of one name
            archive.writestr(name, content)

    return change


def npy(shape: str, data: bytes = b"", descr: str = "'<f4'") -> bytes:
    """A .npy file that claims a shape."""
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + data


folder("an npz that is cut", "e1.npz")(lambda p: cut(p / "e1.npz"))
folder("an npz of noise", "e1.npz")(lambda p: (p / "e1.npz").write_bytes(bytes(range(256))))
folder("an npz that is empty", "e1.npz")(lambda p: (p / "e1.npz").write_bytes(b""))


@folder("an npz with a flipped bit", "e1.npz", "pose")
def _flipped(place):
    path = place / "e1.npz"
    data = path.read_bytes()
    flip(path, (data.index(b"pose.npy") + 200) / len(data))


folder("names that lead up", "e1.npz", "../evil")(entry("../evil.npy", npy("(21,)", bytes(84))))
folder("names that are absolute", "e1.npz")(entry("/tmp/evil.npy", npy("(21,)", bytes(84))))
folder("two arrays of one name", "e1.npz", "pose")(entry("pose.npy", npy("(21,)", bytes(84))))
folder("a shape of a petabyte", "e1.npz", "big")(entry("big.npy", npy(f"(21, {1 << 46})")))
folder("a negative length", "e1.npz", "big")(entry("big.npy", npy("(-21,)")))
folder("a header that is a program", "e1.npz", "big")(
    entry("big.npy", npy("__import__('os').mkdir('canary')"))
)
folder("a record of fields", "e1.npz", "big")(
    entry("big.npy", npy("(21,)", bytes(84), "[('a', '<f4')]"))
)
folder("an action one longer", "e1.npz", "pose")(again(pose=arrays(1, 23)["pose"]))
folder("a reward that is shorter", "e1.npz", "reward")(again(reward=np.zeros(18, np.float32)))
folder("no action", "e1.npz", "action")(again(action=None))
folder("an action of another size", "e1.npz", "action")(again(action=np.zeros((20, 3), np.float32)))
folder("a sensor of another size", "e1.npz", "pose")(again(pose=np.zeros((21, 5), np.float32)))
folder("a sensor that is missing", "e1.npz", "sensors")(again(pose=None))
folder("a sensor that is a text", "e1.npz", "pose")(again(pose=np.array(["x"] * 21)))
folder("an infinite action", "not finite", "action", "e1", "row 4")(
    again(action=np.where(np.arange(20)[:, None] == 3, np.inf, arrays(1)["action"]))
)
folder("a film that is cut", "e1.front.mp4", films=True)(lambda p: cut(p / "e1.front.mp4"))
folder("a film of noise", "e1.front.mp4", films=True)(
    lambda p: (p / "e1.front.mp4").write_bytes(bytes(range(256)) * 9)
)
folder("a film that is shorter", "e1.front.mp4", "front", films=True)(
    lambda p: made.film(str(p / "e1.front.mp4"), [made.picture(1, t) for t in range(12)])
)
folder("a sidecar that is no JSON", "reverie.json", "JSON")(
    lambda p: (p / "reverie.json").write_text("{dt: 0.1}")
)
folder("a sidecar with a dt of zero", "reverie.json", "dt")(
    lambda p: (p / "reverie.json").write_text('{"dt": 0}')
)


@folder("objects in an npz", "e1.npz", "pose", "unpickled")
def _objects(place):
    trap = np.array([Payload(place.parent)] * 21, object)
    np.savez(place / "e1.npz", **(arrays(1) | {"pose": trap}))


@folder("a bomb", "e1.npz")
def _bomb(place):
    with zipfile.ZipFile(place / "e1.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big.npy", npy(f"(21, {1 << 34})", bytes(1 << 20)))
        archive.filelist[-1].file_size = 21 << 36  # what it claims to unpack to


@folder("an npz that is a link out", "e1.npz", "link")
def _link(place):
    outside = place.parent / "secret.npz"
    np.savez(outside, **(arrays(1) | {"pose": np.full((21, 2), SECRET, np.float32)}))
    (place / "e1.npz").unlink()
    (place / "e1.npz").symlink_to(outside)


@folder("a film that is a link out", "e1.front.mp4", "link", films=True)
def _film_link(place):
    (place / "e1.front.mp4").rename(place.parent / "secret.mp4")
    (place / "e1.front.mp4").symlink_to(place.parent / "secret.mp4")
