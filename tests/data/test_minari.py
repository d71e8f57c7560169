"""Datasets that Minari's own package writes, compared with what it reads from them."""

import json
import warnings

import h5py
import numpy as np
import pytest
from gymnasium import spaces

from reverie.core.spec import Space
from reverie.data import minari as reader
from reverie.data.datasets import DatasetError, open_dataset

RICH = spaces.Dict(
    {
        "cam": spaces.Box(0, 255, (32, 40, 3), np.uint8),
        "pair": spaces.Tuple((spaces.Box(-1, 1, (2,)), spaces.Discrete(4, start=1))),
        "mission": spaces.Text(20),
    }
)
ENDS = {"terminated": (True, False), "truncated": (False, True), "neither": (False, False)}


@pytest.fixture
def minari(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import minari
    return minari


def buffer(minari, observations, actions, end="truncated"):
    steps = len(actions)
    terminated, truncated = ([False] * (steps - 1) + [flag] for flag in ENDS[end])
    return minari.data_collector.EpisodeBuffer(
        observations=observations,
        actions=actions,
        rewards=[t + 0.5 for t in range(steps)],
        terminations=terminated,
        truncations=truncated,
    )


def write(minari, buffers, obs, action, dt=0.05, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = minari.create_dataset_from_buffers(
            "test/made-v0", buffers, observation_space=obs, action_space=action, **options
        )
    place = dataset.storage.data_path.parent
    if dt is not None:
        (place / "reverie.json").write_text(json.dumps({"dt": dt}))
    return dataset, place


def flat(minari, lengths=(3, 5), **options):
    rng = np.random.default_rng(0)
    obs, action = spaces.Box(-9, 9, (4,)), spaces.Box(-1, 1, (2,))
    buffers = [
        buffer(
            minari,
            rng.standard_normal((n + 1, 4)).astype(np.float32),
            rng.uniform(-1, 1, (n, 2)).astype(np.float32),
            end,
        )
        for n, end in zip(lengths, ["terminated", "truncated", "neither"] * 9, strict=False)
    ]
    return write(minari, buffers, obs, action, **options)


def rich(minari, count=6, **options):
    rng = np.random.default_rng(0)
    cam = rng.integers(0, 256, (count + 1, 32, 40, 3), np.uint8)
    pair = (rng.random((count + 1, 2), np.float32), np.arange(count + 1) % 4 + 1)
    obs = {"cam": cam, "pair": pair, "mission": ["push the T"] * (count + 1)}
    return write(
        minari,
        [buffer(minari, obs, np.arange(count) % 3)],
        RICH,
        spaces.Discrete(3),
        **options,
    )


@pytest.mark.parametrize("kind", reader.FORMATS)
def test_rows_hold_the_action_that_led_there(minari, kind):
    dataset, place = flat(minari, (3, 5, 2), data_format=kind)
    found = open_dataset(place)
    assert isinstance(found, reader.Minari) and reader.recognises(place / "data")
    assert found.obs == {"state": Space((4,), low=-9, high=9)}
    assert found.action == Space((2,), low=-1, high=1)
    assert (found.about.dt, found.about.source) == (0.05, "test/made-v0")
    assert [(e.name, e.rows) for e in found.episodes()] == [
        ("episode_0", 4),
        ("episode_1", 6),
        ("episode_2", 3),
    ]
    for listed, theirs in zip(found.episodes(), dataset.iterate_episodes(), strict=True):
        rows = found.read(listed.name)
        np.testing.assert_array_equal(rows["state"], theirs.observations)
        np.testing.assert_array_equal(rows["action"][1:], theirs.actions)
        np.testing.assert_array_equal(rows["reward"][1:], theirs.rewards)
        assert not rows["action"][0].any() and rows["reward"][0] == 0
        assert rows["first"].tolist() == [True] + [False] * (listed.rows - 1)
        assert rows["last"].tolist() == [False] * (listed.rows - 1) + [True]
        assert rows["terminated"][-1] == theirs.terminations[-1]
        assert not rows["terminated"][:-1].any()
    found.close()


@pytest.mark.parametrize("kind", reader.FORMATS)
def test_slices_are_those_of_the_whole(minari, kind):
    found = reader.open(flat(minari, (6,), data_format=kind)[1])
    whole = found.read("episode_0")
    for start in range(8):
        for stop in range(start, 8):
            part = found.read("episode_0", start, stop)
            for name, values in whole.items():
                assert part[name].dtype == values.dtype
                np.testing.assert_array_equal(part[name], values[start:stop])
    with pytest.raises(IndexError):
        found.read("episode_0", 0, 8)
    for name in ("episode_1", "episode_0/actions", "..", ""):
        with pytest.raises(KeyError):
            found.read(name)


@pytest.mark.parametrize("kind", reader.FORMATS)
@pytest.mark.parametrize("jpeg", [False, True])
def test_nested_spaces_pictures_choices_and_words(minari, jpeg, kind):
    dataset, place = rich(minari, jpeg_encoding=jpeg, data_format=kind)
    found = open_dataset(place)
    assert dict(found.obs) == {
        "cam": Space((3, 32, 40), "uint8", 0, 255),
        "pair/0": Space((2,), low=-1, high=1),
        "pair/1": Space((4,), low=0, high=1, discrete=True),
    }
    assert found.action == Space((3,), low=0, high=1, discrete=True)
    assert [e.task for e in found.episodes()] == ["push the T"]
    (theirs,) = dataset.iterate_episodes()
    rows = found.read("episode_0", 1, 5)
    np.testing.assert_array_equal(
        rows["cam"], theirs.observations["cam"][1:5].transpose(0, 3, 1, 2)
    )
    np.testing.assert_array_equal(rows["pair/0"], theirs.observations["pair"][0][1:5])
    np.testing.assert_array_equal(rows["pair/1"].argmax(1) + 1, theirs.observations["pair"][1][1:5])
    np.testing.assert_array_equal(rows["action"].argmax(1), theirs.actions[:4])
    assert set(found.read("episode_0", only=["pair/0"])) == {
        *("pair/0", "action", "reward", "first", "last", "terminated")
    }


def test_pictures_without_the_package_that_decodes_them(minari, monkeypatch):
    found = open_dataset(rich(minari)[1])
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    found.read("episode_0", only=["pair/0"])
    with pytest.raises(ImportError, match=r'pip install "reverie\[viz\]"'):
        found.read("episode_0")


@pytest.mark.parametrize("kind", reader.FORMATS)
def test_episodes_are_ordered_by_number(minari, kind):
    found = open_dataset(flat(minari, (1,) * 12, data_format=kind)[1])
    assert [e.name for e in found.episodes()] == [f"episode_{k}" for k in range(12)]


def test_the_time_of_a_decision_must_be_told(minari):
    _, place = flat(minari, dt=None)
    with pytest.raises(DatasetError, match=r'reverie\.json, dt: .*"dt": seconds'):
        open_dataset(place)
    assert reader.open(place, dt=0.1).about.dt == 0.1
    said = json.loads((place / "data/metadata.json").read_text())
    said["env_spec"] = json.dumps({"id": "Robot-v0", "metadata": {"render_fps": 40}})
    (place / "data/metadata.json").write_text(json.dumps(said))
    found = open_dataset(place)
    assert (found.about.dt, found.about.source) == (0.025, "Robot-v0")


def test_metadata_inside_the_file_as_before_minari_0_5(minari):
    _, place = flat(minari)
    said = json.loads((place / "data/metadata.json").read_text())
    with h5py.File(place / "data/main_data.hdf5", "a") as file:
        file.attrs.update({k: v for k, v in said.items() if isinstance(v, str | int)})
    new = open_dataset(place)
    (place / "data/metadata.json").unlink()
    old = open_dataset(place)
    assert (old.obs, old.action, old.about) == (new.obs, new.action, new.about)
    np.testing.assert_array_equal(old.read("episode_1")["state"], new.read("episode_1")["state"])


def test_other_formats_are_refused_by_name(minari):
    _, place = flat(minari)
    file = place / "data/metadata.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"data_format": "lance"}))
    with pytest.raises(DatasetError, match="data_format: it is 'lance'; hdf5, arrow, parquet are"):
        open_dataset(place)


def damage(place, change):
    with h5py.File(place / "data/main_data.hdf5", "a") as file:
        change(file)
    return open_dataset(place)


def replace(path, value):
    def change(file):
        del file[path]
        if value is not None:
            file[path] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("episode_0/observations", None, "episode_0/observations: it is missing"),
        ("episode_0/actions", np.zeros((2, 2)), "actions: it has 2 entries; .* ask for 3"),
        ("episode_0/actions", np.zeros((3, 5)), r"actions: its entries have shape \(5,\)"),
        ("episode_0/observations", np.zeros((3, 4)), "observations: it has 3 entries"),
        ("episode_0/observations", ["a"] * 4, "observations: it holds objects"),
        ("episode_0/terminations", None, "terminations: it is missing"),
        ("episode_0/rewards", np.zeros((3, 2)), r"rewards: its entries have shape \(2,\)"),
        ("episode_0/rewards", h5py.ExternalLink("/etc/passwd", "/"), "link to another file"),
    ],
)
def test_damage_is_named_by_file_and_field(minari, path, value, message):
    found = damage(flat(minari)[1], replace(path, value))
    with pytest.raises(DatasetError, match=f"main_data.hdf5, .*{message}"):
        found.read("episode_0")


@pytest.mark.parametrize("change", [b"", b"no JPEG", b"\xff\xd8\xff\xe0"])
def test_pictures_that_are_none(minari, change):
    def write_blob(file):
        file["episode_0/observations/cam"][2] = np.frombuffer(change, np.uint8)

    found = damage(rich(minari)[1], write_blob)
    found.read("episode_0", 3, 5)
    with pytest.raises(DatasetError, match="observations/cam: a picture is no JPEG"):
        found.read("episode_0", 1, 3)


def test_a_picture_of_another_size(minari):
    from minari.dataset._storages.hdf5_storage import encode_frame

    def write_blob(file):
        file["episode_0/observations/cam"][2] = encode_frame(np.zeros((64, 8, 3), np.uint8))

    found = damage(rich(minari)[1], write_blob)
    with pytest.raises(DatasetError, match="cam: a picture has 64 x 8 pixels"):
        found.read("episode_0")


def test_a_choice_that_there_is_not(minari):
    found = damage(rich(minari)[1], replace("episode_0/actions", np.array([0, 1, 2, 3, 0, 0])))
    with pytest.raises(DatasetError, match="actions: a choice is 3; the space has 0 to 2"):
        found.read("episode_0")


def test_metadata_that_is_damaged(minari):
    _, place = flat(minari)
    file = place / "data/metadata.json"
    said = json.loads(file.read_text())
    for change, message in [
        ({"action_space": '{"type": "Sequence"}'}, "action_space: a space of type 'Sequence'"),
        ({"observation_space": "{"}, "observation_space: "),
        ({"observation_space": None}, "observation_space: "),
        ({"env_spec": "{"}, "env_spec: it is no JSON"),
    ]:
        file.write_text(json.dumps(said | change))
        with pytest.raises(DatasetError, match=rf"metadata\.json, {message}"):
            open_dataset(place)
    del said["observation_space"]
    file.write_text(json.dumps(said))
    with pytest.raises(DatasetError, match="observation_space: it is missing"):
        open_dataset(place)
    file.write_text("[]")
    with pytest.raises(DatasetError, match=r"metadata\.json: expected an object"):
        open_dataset(place)


def test_a_link_out_of_the_directory(minari, tmp_path):
    _, place = flat(minari)
    (place / "data/main_data.hdf5").rename(tmp_path / "elsewhere.hdf5")
    (place / "data/main_data.hdf5").symlink_to(tmp_path / "elsewhere.hdf5")
    with pytest.raises(DatasetError, match="link out of"):
        open_dataset(place)


def test_what_only_looks_like_its_metadata(tmp_path):
    for content in ("[]", "{", '{"author": "me"}'):
        (tmp_path / "metadata.json").write_text(content)
        assert not reader.recognises(tmp_path)
