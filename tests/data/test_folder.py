import json

import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.data import folder as reader
from reverie.data.datasets import DatasetError, open_dataset
from tests.data.rows import PROPRIO, SENSORS, record, stored
from tests.data.test_films import film, shade, shades


@pytest.fixture
def place(tmp_path):
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "reverie.json").write_text('{"dt": 0.1}')
    return directory


def arrays(steps, sensed, **more):
    rng = np.random.default_rng([steps, sensed])
    return {
        "action": rng.standard_normal((steps, 2)),
        "pose": rng.standard_normal((sensed, 3)),
        "grip": rng.random(sensed) > 0.5,
        **more,
    }


@pytest.fixture
def opened(place):
    found = []

    def opening(**options):
        found.append(reader.open(place, **options))
        return found[-1]

    yield opening
    for one in found:
        one.close()


def test_what_was_sensed_after_the_last_action_is_there(place, opened):
    data = arrays(4, 5, reward=np.arange(1.0, 5), terminated=[False, False, False, True])
    np.savez(place / "push_1.npz", **data, task="push the T")
    found = opened()
    assert dict(found.obs) == {"pose": Space((3,)), "grip": Space((), "bool")}
    assert found.action == Space((2,)) and found.about.dt == 0.1
    (episode,) = found.episodes()
    assert (episode.name, episode.rows, episode.task) == ("push_1", 5, "push the T")
    rows = found.read("push_1")
    np.testing.assert_array_equal(rows["pose"], data["pose"].astype(np.float32))
    np.testing.assert_array_equal(rows["grip"], data["grip"])
    np.testing.assert_array_equal(rows["action"][1:], data["action"].astype(np.float32))
    assert rows["reward"].tolist() == [0, 1, 2, 3, 4] and not rows["action"][0].any()
    assert rows["first"].tolist() == [True] + [False] * 4
    assert rows["last"].tolist() == rows["terminated"].tolist() == [False] * 4 + [True]


def test_rewards_of_the_last_action_have_a_row_that_repeats(place, opened):
    data = arrays(4, 4, reward=np.arange(1.0, 5))
    np.savez(place / "a.npz", **data)
    rows = opened().read("a")
    assert rows["reward"].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(rows["pose"][3], rows["pose"][4])
    np.testing.assert_array_equal(rows["pose"][:4], data["pose"].astype(np.float32))
    assert not rows["terminated"].any() and rows["last"].sum() == rows["last"][4] == 1


def test_the_last_action_has_no_row_where_nothing_came_of_it(place, opened):
    data = arrays(4, 4)
    np.savez(place / "a.npz", **data)
    rows = opened().read("a")
    np.testing.assert_array_equal(rows["pose"], data["pose"].astype(np.float32))
    np.testing.assert_array_equal(rows["action"][1:], data["action"][:3].astype(np.float32))
    assert rows["last"].tolist() == [False] * 3 + [True]


def test_rewards_by_row(place, opened):
    reward = np.arange(5.0)
    np.savez(place / "a.npz", **arrays(4, 5, reward=reward, terminated=np.arange(5) == 4))
    rows = opened().read("a")
    assert rows["reward"].tolist() == reward.tolist() and rows["terminated"][4]


@pytest.mark.parametrize("sensed", [4, 5])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_slices_are_those_of_the_whole(place, opened, sensed, save):
    save(place / "a.npz", **arrays(4, sensed, reward=np.arange(4.0), terminated=np.ones(4, bool)))
    found = opened()
    whole = found.read("a")
    for start in range(6):
        for stop in range(start, 6):
            part = found.read("a", start, stop)
            for name, values in whole.items():
                assert part[name].dtype == values.dtype
                np.testing.assert_array_equal(part[name], values[start:stop])
    with pytest.raises(IndexError):
        found.read("a", 0, 6)
    for name in ("b", "../data/a", ""):
        with pytest.raises(KeyError):
            found.read(name)


@pytest.mark.parametrize("obs", [PROPRIO, SENSORS])
def test_rows_of_a_dataset_saved_as_they_are(tmp_path, place, opened, obs):
    with stored(tmp_path / "store", obs, meta={"dt": 0.1}) as store:
        record(store, 0, 0, 9)
        record(store, 0, 1, 12)
    source = open_dataset(tmp_path / "store")
    for listed in source.episodes():
        np.savez(place / f"{listed.name}.npz", **source.read(listed.name))
    found = opened()
    assert {n: s.shape for n, s in found.obs.items()} == {n: s.shape for n, s in obs.items()}
    for listed, its in zip(found.episodes(), source.episodes(), strict=True):
        assert (listed.name, listed.rows) == (its.name, its.rows)
        for start, stop in ((0, its.rows), (3, 7)):
            rows, expected = (d.read(its.name, start, stop) for d in (found, source))
            assert rows.keys() == expected.keys()
            for name, values in expected.items():
                assert rows[name].dtype == values.dtype
                np.testing.assert_array_equal(rows[name], values)


def test_films_beside_the_arrays(place, opened):
    for name in ("a_2", "a_10"):
        np.savez(place / f"{name}.npz", **arrays(6, 7))
        film(place / f"{name}.mp4", 7)
        film(place / f"{name}.front.mp4", 6, size=(16, 32))
        (place / name).mkdir()
        film(place / name / "wrist.mp4", 7)
    found = opened()
    assert [e.name for e in found.episodes()] == ["a_2", "a_10"]
    assert {n: s.shape for n, s in found.obs.items() if s.is_image} == {
        "image": (3, 32, 48),
        "front": (3, 16, 32),
        "wrist": (3, 32, 48),
    }
    rows = found.read("a_10", 3, 7)
    np.testing.assert_allclose(shades(rows["image"]), [shade(t) for t in range(3, 7)], atol=3)
    np.testing.assert_allclose(shades(rows["front"]), [shade(t) for t in (3, 4, 5, 5)], atol=3)
    assert "image" not in found.read("a_10", only=["front"])


def test_films_alone_are_sensors_enough(place, opened):
    np.savez(place / "a.npz", action=np.zeros((5, 2)))
    film(place / "a.mp4", 6)
    found = opened()
    assert found.episodes()[0].rows == 6 and set(found.obs) == {"image"}


def test_the_time_of_a_decision(place, opened):
    (place / "reverie.json").unlink()
    np.savez(place / "a.npz", **arrays(2, 3))
    with pytest.raises(DatasetError, match=r"reverie\.json, dt"):
        opened()
    assert opened(dt=0.5).about.dt == 0.5
    np.savez(place / "a.npz", **arrays(2, 3), dt=0.25)
    assert opened().about.dt == 0.25
    (place / "reverie.json").write_text(json.dumps({"dt": 1, "env": "arm", "task": "wait"}))
    found = opened()
    assert (found.about.dt, found.about.source, found.episodes()[0].task) == (1, "arm", "wait")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"pose": np.zeros((3, 3))}, "action: there is no array"),
        ({"action": np.zeros(()), "pose": np.zeros((3, 3))}, "action: there is no array"),
        ({"action": np.zeros((3, 2, 2)), "pose": np.zeros((3, 3))}, r"action: it has shape"),
        ({"action": np.zeros((3, 2))}, "no sensors"),
        (arrays(3, 6), "pose: it has 6 entries; with 3 actions, 3 or 4 are expected"),
        (arrays(3, 3, reward=np.zeros(7)), "reward: it has 7 entries"),
        (arrays(3, 3, reward=np.zeros((3, 1))), "reward: it has 3 entries"),
        (arrays(3, 4, first=np.zeros(3, bool)), "pose: it has 4 entries; with 3 actions, 3 are"),
        (arrays(3, 4, words=np.array(["a"] * 4)), r"words: <U1 \[4\] is no sensor"),
        (arrays(3, 4, mass=np.array(2.0)), r"mass: float64 \[\] is no sensor"),
        (arrays(3, 4, **{"a.b": np.zeros(4), "a_b": np.zeros(4)}), "makes a sensor 'a_b', too"),
        (arrays(3, 4, dt="fast"), "dt: it must be one number"),
        (arrays(3, 4, dt=np.zeros(3)), "dt: it must be one number"),
        (arrays(3, 4, image=np.zeros(4)), "makes a sensor 'image', too"),
        (arrays(3, 4, nothing=np.zeros((4, 0))), "nothing: .* empty axis"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_field(place, opened, data, message):
    np.savez(place / "a.npz", **data)
    film(place / "a.mp4", 4) if "image" in data else None
    with pytest.raises(DatasetError, match=rf"a\.npz(, |: ).*{message}"):
        opened()


def test_a_film_that_is_too_short(place, opened):
    np.savez(place / "a.npz", **arrays(6, 7))
    film(place / "a.front.mp4", 5)
    with pytest.raises(DatasetError, match=r"a\.front\.mp4, front: it has 5 entries"):
        opened()


def test_two_films_of_one_camera(place, opened):
    np.savez(place / "a.npz", **arrays(6, 7))
    film(place / "a.front.mp4", 7)
    (place / "a").mkdir()
    film(place / "a/front.mp4", 7)
    with pytest.raises(DatasetError, match="another film of the camera 'front'"):
        opened()


def test_episodes_must_be_alike(place, opened):
    np.savez(place / "a.npz", **arrays(3, 4))
    np.savez(place / "b.npz", **arrays(3, 4, more=np.zeros(4)))
    found = opened()
    with pytest.raises(DatasetError, match=r"b\.npz, more: .* missing in a\.npz"):
        found.episodes()
    np.savez(place / "b.npz", **(arrays(3, 4) | {"action": np.zeros((3, 5))}))
    with pytest.raises(DatasetError, match=r"b\.npz, action: it has 5 entries"):
        opened().episodes()


def test_links_out_of_the_folder_are_not_followed(tmp_path, place, opened):
    np.savez(tmp_path / "secret.npz", **arrays(3, 4))
    film(tmp_path / "secret.mp4", 4)
    np.savez(place / "a.npz", **arrays(3, 4))
    (place / "a.front.mp4").symlink_to(tmp_path / "secret.mp4")
    with pytest.raises(DatasetError, match=r"a\.front\.mp4: it is a link out of"):
        opened()
    (place / "a.front.mp4").unlink()
    (place / "b.npz").symlink_to(tmp_path / "secret.npz")
    with pytest.raises(DatasetError, match=r"b\.npz: it is a link out of"):
        opened().episodes()


def test_nothing_is_unpickled(place, opened):
    np.savez(place / "a.npz", **arrays(3, 4), bad=np.array([print] * 4, object))
    with pytest.raises(DatasetError, match=r"a\.npz, bad: it holds Python objects"):
        opened()


def test_an_empty_folder(place, opened):
    assert not reader.recognises(place)
    with pytest.raises(DatasetError, match=r"no \.npz files"):
        opened()
