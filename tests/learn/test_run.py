"""A whole run: on the built-in pendulum, with a learner small enough for tests."""

import json
import os
import resource
import signal
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from reverie.data import EpisodeStore, ReplayConfig
from reverie.envs.parallel import parallel
from reverie.learn import loop
from reverie.learn.checkpoint import CheckpointError, Checkpoints
from reverie.learn.directory import RunDirectory, RunLockedError
from reverie.learn.fit import DivergenceError
from reverie.learn.learner import latent_spaces
from reverie.learn.log import LogConfig, read
from reverie.learn.run import (
    CheckpointConfig,
    EvaluateConfig,
    PrefillConfig,
    RunConfig,
    train,
)
from tests.learn.tiny import ENV, Quiet, config, learner_for, tiny_run

# a killed run cannot close its files
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

SHORT = Quiet(frames=280, decisions=30)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupts."""
    path = tmp_path_factory.mktemp("whole") / "run"
    return path, tiny_run(path, SHORT)


def curve(path):
    """What a run recorded, without the clock and without notes."""
    lines = [line for line in read(path / "log.jsonl") if line["kind"] != "note"]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def notes(path):
    return [line["text"] for line in read(path / "log.jsonl", "note")]


def at_update(number, action):
    """A preparation that does something in the middle of an update."""

    def prepare(learner, envs, replay):
        update = learner.update

        def spoiled(*given):
            learner.calls = getattr(learner, "calls", 0) + 1
            if learner.calls == number:
                action()
            return update(*given)

        learner.update = spoiled

    return prepare


class Killed(BaseException):
    pass


def kill():
    raise Killed


def test_counts_are_honest_and_the_record_is_complete(whole):
    path, result = whole
    counters = result.counters
    assert result.finished
    assert counters.frames == 2 * counters.decisions >= 280
    fits, episodes = read(path / "log.jsonl", "fit"), read(path / "log.jsonl", "episode")
    assert [line["updates"] for line in fits] == list(range(1, counters.updates + 1))
    # the row of a reset is no decision: 2 environments, episodes of 25 decisions
    assert [line["length"] for line in episodes] == [25] * len(episodes)
    assert len(episodes) == 2 * (counters.decisions // 50)
    started = json.loads((result.checkpoint / "run.json").read_text())["ratio"]["start"]
    assert 60 <= started <= 62
    assert counters.updates == (counters.decisions - started) * 20 // (4 * 8)
    assert fits[-1]["seconds"] <= counters.seconds
    assert {"loss/predict", "loss/act", "loss/stay", "loss", "grad_norm", "scale"} < set(fits[0])
    store = EpisodeStore.open(path / "episodes")
    by_place = {(e.stream, e.index): e.ret for e in store.episodes() if e.complete}
    assert len(by_place) == len(episodes)
    for line in episodes:
        assert line["return"] == pytest.approx(by_place[line["stream"], line["episode"]])


def test_the_prefill_is_caught_up_where_asked(tmp_path, whole):
    quiet = Quiet(frames=200)
    plain = tiny_run(tmp_path / "plain", quiet)
    caught = tiny_run(tmp_path / "caught", quiet._replace(catch_up=True))
    per_decision = 20.0 / (4 * 8)
    assert caught.counters.decisions == plain.counters.decisions == 100
    assert plain.counters.updates == int(per_decision * (100 - quiet.prefill))
    assert caught.counters.updates == int(per_decision * 100)


def test_learning_makes_the_loss_smaller(whole):
    losses = [line["loss/predict"] for line in read(whole[0] / "log.jsonl", "fit")]
    assert np.mean(losses[-8:]) < 0.6 * np.mean(losses[:8])


def test_a_finished_run_is_left_as_it_is_and_can_be_prolonged(tmp_path, whole):
    path = tmp_path / "run"
    first = tiny_run(path, replace_frames(160))
    again = tiny_run(path, replace_frames(160))
    assert again.finished
    assert again.checkpoint == first.checkpoint
    assert again.counters.updates == first.counters.updates
    tiny_run(path, SHORT)
    assert curve(path) == curve(whole[0])


def replace_frames(frames):
    return SHORT._replace(frames=frames)


@pytest.mark.parametrize("number", [1, 7, 30])
def test_a_run_that_breaks_off_resumes_bitwise(tmp_path, whole, number):
    path = tmp_path / "run"
    with pytest.raises(Killed):
        tiny_run(path, SHORT, prepare=at_update(number, kill))
    result = tiny_run(path, SHORT)
    assert curve(path) == curve(whole[0])
    assert result.counters.decisions == whole[1].counters.decisions
    assert "Resumed from" in notes(path)[-1]
    ours, theirs = (Checkpoints(p / "checkpoints").latest() for p in (path, whole[0]))
    for name in ("model", "optimiser"):
        a, b = (torch.utils._pytree.tree_leaves(c.part(name)) for c in (ours, theirs))
        assert all(
            torch.equal(torch.as_tensor(x), torch.as_tensor(y)) for x, y in zip(a, b, strict=True)
        )


def test_a_run_that_breaks_off_among_random_actions_resumes_bitwise(tmp_path, whole):
    def prepare(learner, envs, replay):
        step, calls = envs.step, []

        def spoiled(actions):
            calls.append(1)
            if len(calls) == 25:
                kill()
            return step(actions)

        envs.step = spoiled

    path = tmp_path / "run"
    with pytest.raises(Killed):
        tiny_run(path, SHORT, prepare=prepare)
    saved = Checkpoints(path / "checkpoints").latest().about["counters"]
    assert saved["decisions"] > 25
    assert saved["updates"] == 0
    tiny_run(path, SHORT)
    assert curve(path) == curve(whole[0])


def test_means_in_the_log_and_evaluations_resume_bitwise(tmp_path):
    quiet = SHORT._replace(frames=220, every=4, evaluate=50)
    tiny_run(tmp_path / "whole", quiet)
    with pytest.raises(Killed):
        tiny_run(tmp_path / "run", quiet, prepare=at_update(25, kill))
    tiny_run(tmp_path / "run", quiet)
    assert curve(tmp_path / "run") == curve(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_return(tmp_path, whole, number, capfd):
    path = tmp_path / "run"
    stop = at_update(11, lambda: os.kill(os.getpid(), number))
    quiet = SHORT._replace(decisions=0, progress="plain")
    stopped = tiny_run(path, quiet, prepare=stop)
    assert not stopped.finished
    assert stopped.counters.updates == 11
    said = capfd.readouterr().err
    assert "Saving and stopping" in said
    assert "Run the same command again" in said.replace("\n", " ")
    handlers = signal.getsignal(number)
    assert tiny_run(path, SHORT).finished
    assert signal.getsignal(number) is handlers
    assert curve(path) == curve(whole[0])


def test_evaluation_is_recorded_and_changes_nothing(tmp_path, whole):
    path = tmp_path / "run"
    tiny_run(path, SHORT._replace(evaluate=100))
    lines = curve(path)
    judged = [line for line in lines if line["kind"] == "evaluate"]
    assert [line["frames"] // 100 for line in judged] == [1, 2]
    assert all(len(line["returns"]) == 3 and line["length"] == 25 for line in judged)
    assert judged[0]["return"] == pytest.approx(np.mean(judged[0]["returns"]))
    assert [line for line in lines if line["kind"] != "evaluate"] == curve(whole[0])


def test_a_damaged_checkpoint_costs_time_and_nothing_else(tmp_path, whole):
    path = tmp_path / "run"
    with pytest.raises(Killed):
        tiny_run(path, SHORT, prepare=at_update(30, kill))
    newest = Checkpoints(path / "checkpoints").paths()[-1]
    weights = newest / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=r"model\.safetensors is damaged"):
        tiny_run(path, SHORT)
    assert curve(path) == curve(whole[0])
    assert (path / "checkpoints" / f"{newest.name}.damaged").is_dir()


def test_divergence_names_the_loss_and_leaves_the_last_good_checkpoint(tmp_path, whole):
    path = tmp_path / "run"

    def spoil(learner, envs, replay):
        learner.spoil_at = 20

    with pytest.raises(DivergenceError, match="'act' is not finite at update 20") as caught:
        tiny_run(path, SHORT, prepare=spoil)
    good = Checkpoints(path / "checkpoints").latest()
    assert caught.value.__notes__ == [f"The last good checkpoint is {good.path}."]
    assert "'act' is not finite" in notes(path)[-1]
    tiny_run(path, SHORT)
    assert curve(path) == curve(whole[0])


def limit_files(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_on_a_full_disk_the_run_goes_on_and_nothing_is_lost(tmp_path):
    quiet = SHORT._replace(context=0)
    tiny_run(tmp_path / "whole", quiet)
    path = tmp_path / "run"

    def prepare(learner, envs, replay):
        at_update(8, lambda: limit_files(1000))(learner, envs, replay)
        inner = learner.update

        def update(*given):
            if learner.calls == 34:
                limit_files(resource.RLIM_INFINITY)
            return inner(*given)

        learner.update, learner.calls = update, 0

    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", UserWarning)
            result = tiny_run(path, quiet, prepare=prepare)
    finally:
        limit_files(resource.RLIM_INFINITY)
    said = [str(warning.message) for warning in warned]
    assert sum("The run goes on and tries again" in text for text in said) == 1
    assert sum("lines wait in memory" in text for text in said) == 1
    assert result.finished
    assert curve(path) == curve(tmp_path / "whole")
    complete = [e for e in EpisodeStore.open(path / "episodes").episodes() if e.complete]
    assert len(complete) == len(read(path / "log.jsonl", "episode"))


@pytest.mark.parametrize("context", [0, 1])
def test_a_disk_that_stays_full_stops_the_run_and_says_how_to_go_on(tmp_path, monkeypatch, context):
    path = tmp_path / "run"
    quiet = SHORT._replace(frames=200, context=context)
    tiny_run(tmp_path / "whole", quiet)
    monkeypatch.setattr(loop, "PATIENCE", 0.0)
    try:
        with warnings.catch_warnings(), pytest.raises((CheckpointError, OSError)) as caught:
            warnings.simplefilter("ignore")
            tiny_run(path, quiet, prepare=at_update(8, lambda: limit_files(1000)))
    finally:
        limit_files(resource.RLIM_INFINITY)
    error = caught.value  # closing the store may fail too
    while not hasattr(error, "__notes__"):
        error = error.__context__
    assert "run the same command again" in " ".join(error.__notes__)
    tiny_run(path, quiet)
    assert curve(path) == curve(tmp_path / "whole")


def test_another_family_another_robot_and_another_size_are_refused(tmp_path):
    path = tmp_path / "run"
    tiny_run(path, replace_frames(40))

    def resume(env=ENV, family="tiny", directory=path, prepare=None):
        with (
            RunDirectory(directory) as place,
            parallel(env, 2, seed=7) as envs,
            EpisodeStore(tmp_path / f"{env.name}-{env.pixels}", envs.obs, envs.action) as store,
        ):
            learner = learner_for(envs)
            if prepare:
                prepare(learner)
            replay = ReplayConfig(4, 8).build(store, seed=5, latent=latent_spaces(learner))
            train(learner, replay, config(SHORT), place, family=family, envs=envs)

    with pytest.raises(CheckpointError, match="family 'tiny', and 'dreamer' was asked for"):
        resume(family="dreamer")
    with pytest.raises(
        CheckpointError,
        match=r"'orientation' was float32 \(2,\).*'image' was absent and is uint8 \(3, 64, 64\)",
    ) as caught:
        resume(replace(ENV, pixels=True))
    assert "begin a new run directory" in str(caught.value)
    with pytest.raises(
        CheckpointError, match=r"action was float32 \(1,\).*discrete float32 \(2,\)"
    ):
        resume(replace(ENV, name="toy:balance"))

    def widen(learner):
        learner.actor = torch.nn.Linear(16, 5)

    with pytest.raises(
        CheckpointError, match=r"actor.weight has shape \(1, 16\) and this model has"
    ):
        resume(prepare=widen)


def test_tensorboard_is_written_beside_the_log(tmp_path):
    pytest.importorskip("tensorboard")
    log = LogConfig(every=5, tensorboard=True, progress="off")
    tiny_run(tmp_path / "run", replace_frames(160), log=log)
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.*"))
    assert [line["updates"] for line in read(tmp_path / "run" / "log.jsonl", "fit")] == [5, 10]


def test_two_processes_cannot_run_in_one_directory(tmp_path):
    with (
        RunDirectory(tmp_path / "run"),
        pytest.raises(RunLockedError, match="already in use"),
    ):
        tiny_run(tmp_path / "run", SHORT)


def record(path, episodes=4):
    """Episodes of random actions, as somebody else might have recorded them."""
    with parallel(ENV, 1, seed=1) as envs, EpisodeStore(path, envs.obs, envs.action) as store:
        generator = torch.Generator().manual_seed(0)
        action = np.zeros((1, 1), np.float32)
        done = 0
        while done < episodes:
            rows = envs.step(action)
            row = {name: value[0] for name, value in rows.obs.items()}
            flags = {name: getattr(rows, name)[0] for name in ("first", "last", "terminated")}
            taken = np.zeros(1, np.float32) if rows.first[0] else action[0]
            store.append(0, {**row, **flags, "reward": rows.reward[0], "action": taken})
            done += int(rows.last[0])
            action = envs.action.sample(1, generator=generator).numpy()


def learn_from(recorded, run, updates, prepare=None):
    store = EpisodeStore.open(recorded)
    schema = store.schema
    learner = learner_for(schema)
    if prepare is not None:
        prepare(learner, None, None)
    replay = ReplayConfig(4, 8, online=False).build(store, seed=5, latent=latent_spaces(learner))
    quiet = SHORT._replace(updates=updates, decisions=0, seconds=0.4)
    return train(learner, replay, config(quiet), RunDirectory(run), family="tiny")


def test_recorded_episodes_alone_are_enough_and_resume_bitwise(tmp_path):
    record(tmp_path / "episodes")
    result = learn_from(tmp_path / "episodes", tmp_path / "a", 30)
    assert result.finished
    assert result.counters.updates == 30
    assert result.counters.frames == result.counters.decisions == 0
    with pytest.raises(Killed):
        learn_from(tmp_path / "episodes", tmp_path / "b", 30, at_update(17, kill))
    learn_from(tmp_path / "episodes", tmp_path / "b", 30)
    assert curve(tmp_path / "b") == curve(tmp_path / "a")
    record(tmp_path / "episodes", 6)
    learn_from(tmp_path / "episodes", tmp_path / "b", 40)
    assert "rows recorded after it were taken in" in notes(tmp_path / "b")[-1]


def test_without_environments_the_number_of_updates_is_needed(tmp_path):
    record(tmp_path / "episodes", 1)
    with pytest.raises(ValueError, match=r"set RunConfig\.updates"):
        learn_from(tmp_path / "episodes", tmp_path / "a", 0)


def test_a_robot_goes_on_with_new_episodes_and_loses_none(tmp_path):
    def robot(learner, envs, replay):
        envs.repeatable = False

    def killed(learner, envs, replay):
        robot(learner, envs, replay)
        at_update(40, kill)(learner, envs, replay)

    path = tmp_path / "run"
    quiet = SHORT._replace(decisions=0)  # only the checkpoint at the beginning
    with pytest.raises(Killed):
        tiny_run(path, quiet, prepare=killed)
    before = EpisodeStore.open(path / "episodes").episodes()
    assert len(before) >= 4
    seen = []

    def resumed(learner, envs, replay):
        robot(learner, envs, replay)
        seen.append(replay)

    result = tiny_run(path, quiet, prepare=resumed)
    after = {e.name: e for e in EpisodeStore.open(path / "episodes").episodes()}
    assert all(after[e.name] == e for e in before)
    rows = sum(e.rows for e in after.values() if e.complete)
    # decisions of episodes from before the kill are counted, rows of resets are not
    assert result.counters.decisions >= rows - len(after)
    assert (
        f"{sum(e.rows for e in before):,} rows recorded after it were taken in" in notes(path)[-1]
    )
    assert seen[0].rows >= rows


def test_nothing_is_warned_about_in_a_good_run(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_run(tmp_path / "run", replace_frames(160))
        tiny_run(tmp_path / "run", replace_frames(200))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: RunConfig(frames=-1),
        lambda: PrefillConfig(-1),
        lambda: RunConfig(train_ratio=float("nan")),
        lambda: EvaluateConfig(episodes=0),
        lambda: CheckpointConfig(seconds=0),
        lambda: CheckpointConfig(keep=0),
    ],
)
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ValueError, match="Config"):
        wrong()


def test_evaluation_needs_environments(tmp_path):
    with pytest.raises(ValueError, match="pass evaluation="):
        tiny_run(tmp_path / "run", SHORT, evaluate=EvaluateConfig(every=10))
