import copy
import multiprocessing
import shutil

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

import reverie.data.lerobot
from reverie.core.spec import Space
from reverie.data.datasets import ActionInfo, DatasetError, open_dataset
from tests.data.lerobot import made
from tests.data.lerobot.made import FPS, H, W, which, whose

LENGTHS = (6, 9, 7)
NAMES = [f"episode_{number:06d}" for number in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Datasets by name; they are not changed."""
    root = tmp_path_factory.mktemp("lerobot")
    made.new(root / "v3")
    made.old(root / "v2")
    made.new(root / "images", kind="image")
    made.new(root / "bare", outcomes=())
    ours = {"obs": {}, "final_observation": True, "dt": 0.0999}
    made.new(root / "ours", reverie=ours, per_file=3, cameras=made.CAMERAS[:1])
    return root


@pytest.fixture
def root(folder, tmp_path):
    """A dataset to damage."""
    shutil.copytree(folder / "v3", tmp_path / "v3")
    return tmp_path / "v3"


def expected(episode, extra=1, outcomes=True):
    """Rows of an episode without its pictures, and the frame that each row shows."""
    length = LENGTHS[episode]
    total = length + extra
    frames = np.minimum(np.arange(total), length - 1)
    before = np.arange(total - 1)
    rows = {
        "state": made.state(episode, length)[frames],
        "gripper": (frames % 3 == 0)[:, None],
        "count": (frames * 7)[:, None],
        "action": np.concatenate([np.zeros((1, 2)), made.action(episode, length)[before]]),
        "reward": np.concatenate([[0.0], made.reward(episode, length)[before] * outcomes]),
        "first": np.arange(total) == 0,
        "last": np.arange(total) == total - 1,
        "terminated": np.zeros(total, bool),
    }
    if extra:
        rows["terminated"][-1] = episode % 2 == 1
    return rows, frames


def check(found, rows, frames, episode, start=0, stop=None):
    for name, values in rows.items():
        np.testing.assert_array_equal(found[name], values[start:stop], err_msg=name)
    for camera, name in enumerate(("top", "wrist")):
        if name in found:
            assert which(found[name]).tolist() == frames[start:stop].tolist()
            assert (whose(found[name]) == 2 * episode + camera).all()


@pytest.mark.parametrize("name", ["v3", "v2", "images"])
def test_rows_are_frames_shifted_by_one_action(folder, name):
    with_end = open_dataset(folder / name)
    assert [each.name for each in with_end.episodes()] == NAMES
    assert [each.rows for each in with_end.episodes()] == [7, 10, 8]
    assert [each.task for each in with_end.episodes()] == ["push 0", "push 1", "push 0"]
    for episode in range(3):
        check(with_end.read(NAMES[episode]), *expected(episode), episode)
    with_end.close()


def test_without_outcomes_the_last_action_has_no_row(folder):
    bare = open_dataset(folder / "bare")
    assert [each.rows for each in bare.episodes()] == list(LENGTHS)
    for episode in range(3):
        rows, frames = expected(episode, extra=0, outcomes=False)
        check(bare.read(NAMES[episode]), rows, frames, episode)


def test_reveries_own_last_frame_is_the_last_row(folder):
    ours = open_dataset(folder / "ours")
    assert [each.rows for each in ours.episodes()] == list(LENGTHS)
    assert ours.about.dt == 0.0999
    for episode in range(3):
        check(ours.read(NAMES[episode]), *expected(episode, extra=0), episode)


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("truncated", [True, False])
def test_an_episode_ends_once_wherever_done_is_set(tmp_path, ours, truncated):
    made.new(tmp_path, (4,), cameras=(), reverie={"final_observation": ours})
    path = tmp_path / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path).to_pydict()
    table["next.done"] = [False, False, True, True]
    table["next.truncated"] = [False, False, truncated, truncated]
    pq.write_table(made.pa.table(table), path)
    dataset = open_dataset(tmp_path)
    rows = 4 if ours else 5
    expected = [False] * (rows - 1) + [not truncated]
    for stop in range(1, rows + 1):
        assert dataset.read(NAMES[0], 0, stop)["terminated"].tolist() == expected[:stop]


@pytest.mark.parametrize("name", ["v3", "images", "bare"])
def test_any_part_is_that_part_of_the_whole(folder, name):
    dataset = open_dataset(folder / name)
    total = dataset.episodes()[1].rows
    whole = dataset.read(NAMES[1])
    for start in range(total + 1):
        for stop in range(start, total + 1):
            part = dataset.read(NAMES[1], start, stop)
            assert part.keys() == whole.keys()
            for entry, values in part.items():
                assert values.dtype == whole[entry].dtype
                np.testing.assert_array_equal(values, whole[entry][start:stop], err_msg=entry)


def test_spaces_and_dtypes(folder):
    dataset = open_dataset(folder / "v3")
    assert dict(dataset.obs) == {
        "top": Space((3, H, W), "uint8"),
        "wrist": Space((3, H, W), "uint8"),
        "state": Space((3,)),
        "gripper": Space((1,), "bool"),
        "count": Space((1,), "int64"),
    }
    assert dataset.action == Space((2,))
    rows = dataset.read(NAMES[0])
    spaces = {**dataset.obs, "action": dataset.action, "reward": Space(())}
    spaces |= {flag: Space((), "bool") for flag in ("first", "last", "terminated")}
    assert rows.keys() == spaces.keys()
    for name, space in spaces.items():
        assert (rows[name].dtype, rows[name].shape) == (space.dtype, (7, *space.shape))


def test_what_it_says_of_itself(folder):
    about = open_dataset(folder / "v3").about
    assert (about.format, about.dt, about.source) == ("lerobot v3.0", 1 / FPS, "arm")
    assert about.action == ActionInfo(names=("dx", "dy"))
    assert about.extra["tasks"] == ["push 0", "push 1"]
    assert about.extra["left_out"] == ["language"]
    assert about.extra["keys"]["top"] == "observation.images.top"


def test_only_some_sensors(folder, monkeypatch):
    dataset = reverie.data.lerobot.open(folder / "v3", threads=1)
    monkeypatch.setattr(dataset._films, "_fill", lambda window: pytest.fail("decoded"))
    rows = dataset.read(NAMES[0], only=["state"])
    assert set(rows) == {"state", "action", "reward", "first", "last", "terminated"}
    assert not set(dataset.read(NAMES[0], only=[])) & set(dataset.obs)


@pytest.mark.parametrize("threads", [1, 3])
def test_many_windows_at_once(folder, threads):
    dataset = reverie.data.lerobot.open(folder / "v3", threads=threads)
    windows = [(NAMES[e], s, s + 4) for e in (2, 0, 1) for s in range(3)]
    for (name, start, stop), rows in zip(windows, dataset.read_many(windows), strict=True):
        episode = NAMES.index(name)
        check(rows, *expected(episode), episode, start, stop)
    dataset.close()


def test_what_is_not_there(folder):
    dataset = open_dataset(folder / "v3")
    with pytest.raises(KeyError, match="no episode 'other'"):
        dataset.read("other")
    for start, stop in ((-1, 3), (3, 2), (0, 8)):
        with pytest.raises(IndexError, match="has 7 rows"):
            dataset.read(NAMES[0], start, stop)


def test_opening_reads_the_tables_of_episodes_alone(root):
    shutil.rmtree(root / "data")
    shutil.rmtree(root / "videos")
    dataset = open_dataset(root)
    assert len(dataset.episodes()) == 3
    with pytest.raises(
        DatasetError, match=r"data/chunk-000/file-000\.parquet: the file is missing"
    ):
        dataset.read(NAMES[0])


def test_recognises(folder, tmp_path):
    assert reverie.data.lerobot.recognises(folder / "v3")
    assert not reverie.data.lerobot.recognises(tmp_path)
    assert not reverie.data.lerobot.recognises("memory://nothing")


@pytest.mark.parametrize("name", ["v3", "v2", "images"])
def test_behind_an_address(folder, name):
    system = fsspec.filesystem("memory")
    system.put(str(folder / name), "/there", recursive=True)
    dataset = open_dataset("memory://there")
    for episode in range(3):
        check(dataset.read(NAMES[episode]), *expected(episode), episode)
    dataset.close()
    system.rm("/there", recursive=True)


def child(dataset, answers):
    answers.put(which(dataset.read(NAMES[1], 2, 7)["top"]).tolist())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_reads_on_its_own(folder):
    dataset = reverie.data.lerobot.open(folder / "v3", threads=2)
    dataset.read(NAMES[1])
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    process = context.Process(target=child, args=(dataset, answers), daemon=True)
    process.start()
    try:
        assert answers.get(timeout=30) == [2, 3, 4, 5, 6]
    finally:
        process.kill()
        process.join()
    assert which(dataset.read(NAMES[1])["top"]).tolist() == expected(1)[1].tolist()


# -------------------------------------------------------------------------------------------------
# Damage


def test_a_dataset_without_info(tmp_path):
    with pytest.raises(DatasetError, match="none of the formats"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match=r"meta/info\.json: the file is missing"):
        open_dataset(tmp_path, "lerobot")


def test_paths_that_lead_out_are_never_opened(root, tmp_path):
    shutil.copy(root / "data/chunk-000/file-000.parquet", tmp_path / "0.parquet")
    for path in ("../{file_index}.parquet", f"{tmp_path}/{{file_index}}.parquet"):
        made.change(root, data_path=path)
        with pytest.raises(DatasetError, match="data_path"):
            open_dataset(root)


def test_a_key_that_climbs_out_through_the_template(root):
    about = made.info(cameras=("..",))
    made.change(root, features=about["features"], video_path="videos/{video_key}/../x.mp4")
    with pytest.raises(DatasetError, match="leads out"):
        open_dataset(root)


def test_a_torn_film_names_the_camera_and_the_episode(root):
    path = root / "videos/observation.images.top/chunk-000/file-001.mp4"
    path.write_bytes(path.read_bytes()[:500])
    dataset = open_dataset(root)
    with pytest.raises(DatasetError, match=r"top/chunk-000/file-001\.mp4"):
        dataset.read(NAMES[2])
    check(dataset.read(NAMES[1]), *expected(1), 1)


def test_a_film_that_is_too_short_names_the_frame(root):
    path = root / "videos/observation.images.wrist/chunk-000/file-001.mp4"
    made.film(str(path), [made.picture(2, t, 1) for t in range(5)])
    with pytest.raises(DatasetError, match="wrist of episode_000002, frame 5"):
        open_dataset(root).read(NAMES[2])


def test_films_of_another_rate(root):
    made.change(root, fps=20)
    with pytest.raises(DatasetError, match=r"10 pictures per second; info\.json says 20"):
        open_dataset(root).read(NAMES[0])


def test_a_table_that_lacks_a_column(root):
    path = root / "data/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(path).drop_columns("observation.state"), path)
    with pytest.raises(DatasetError, match=r"observation\.state: the column is missing"):
        open_dataset(root).read(NAMES[0])


def test_nan_is_left_to_those_who_check_values(root):
    path = root / "data/chunk-000/file-000.parquet"
    columns = pq.read_table(path).to_pydict()
    columns["observation.state"] = copy.deepcopy(columns["observation.state"])
    columns["observation.state"][2][1] = float("nan")
    pq.write_table(made.pa.table(columns), path)
    states = open_dataset(root).read(NAMES[0], only=["state"])["state"]
    assert np.argwhere(np.isnan(states)).tolist() == [[2, 1]]


def test_without_pyarrow_or_pyav_the_extra_is_named(folder, monkeypatch):
    for module, name in (("pyarrow.parquet", "pyarrow"), ("av", "PyAV")):
        with monkeypatch.context() as patch:
            patch.setitem(__import__("sys").modules, module, None)
            with pytest.raises(ImportError, match=rf"{name}.*reverie\[data\]"):
                open_dataset(folder / "v3").read(NAMES[0])


@pytest.mark.parametrize("kind", ["v3", "v2", "bare", "ours"])
def test_timestamps_are_those_recorded(folder, kind):
    dataset = open_dataset(folder / kind)
    for episode in dataset.episodes():
        seconds = dataset.timestamps(episode.name)
        assert seconds.shape == (episode.rows,)
        np.testing.assert_allclose(np.diff(seconds), 1 / FPS, atol=1e-3)
    with pytest.raises(KeyError):
        dataset.timestamps("nobody")
