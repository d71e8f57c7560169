"""The TD-MPC2 recipe: it trains, resumes, is loaded and acts by planning."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie.cli import main
from reverie.core.spec import Space
from reverie.data import EpisodeStore, ReplayConfig
from reverie.envs import EnvConfig, episode_seed
from reverie.envs.tasks import share
from reverie.eval.returns import RandomAgent
from reverie.learn.device import DeviceConfig
from reverie.learn.log import LogConfig, read
from reverie.learn.run import EvaluateConfig, PrefillConfig, RunConfig
from reverie.models.tdmpc2 import NetConfig, Task, TDMPC2Config, discount
from reverie.plan import MPC, MPCConfig, tdmpc2_mppi
from reverie.recipes.data import DataConfig
from reverie.recipes.planning import subject
from reverie.recipes.run import JUDGED, load, train
from reverie.recipes.study import evaluate, evaluate_each, film, predict, report, results
from reverie.recipes.tdmpc2 import TDMPC2Recipe


def tiny(run: Path, frames: int = 120) -> TDMPC2Recipe:
    recipe = TDMPC2Recipe(run=run)
    net = NetConfig(encoder=16, encoder_layers=2, width=16, latent=16, heads=3)
    training = replace(
        recipe.training, frames=frames, prefill=PrefillConfig(40, catch_up=True), train_ratio=16.0
    )
    return replace(
        recipe,
        env=EnvConfig("toy:pendulum", max_decisions=30),
        size="custom",
        model=TDMPC2Config(net=net),
        search=replace(tdmpc2_mppi(), samples=16, elites=4, iterations=2),
        plan=MPCConfig(horizon=2, proposals=3),
        replay=ReplayConfig(batch=4, length=4, context=0, online=False),
        training=training,
    )


def test_it_trains_goes_on_and_acts(tmp_path: Path) -> None:
    result = train(tiny(tmp_path / "a", 80))
    assert result.finished
    assert result.counters.updates == 80
    further = train(tiny(tmp_path / "a", 120))
    assert further.counters.updates == 120
    loaded = load(tmp_path / "a")
    assert isinstance(loaded.agent, MPC)
    assert loaded.agent.config.proposals == 3
    first, second = (evaluate(load(tmp_path / "a"), episodes=2) for _ in range(2))
    assert first == second
    page = report(loaded, episodes=2).read_text()
    assert "predicts no observations" in page and "rewards are shown" in page


def test_the_published_size_plans_with_the_discount_of_the_model() -> None:
    recipe = TDMPC2Recipe(model=TDMPC2Config(discount=0.97))
    obs, action = {"position": Space((3,))}, Space((2,), low=-1.0, high=1.0)
    learner = recipe.build(obs, action, 0.02)
    agent = learner.agent
    assert agent.cost.discount == recipe.discount == 0.97
    assert (agent.cost.horizon, agent.config.proposals) == (3, 24)
    assert agent.cost.terminal is not None
    again = recipe.build(obs, action, 0.02)
    for a, b in zip(learner.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="updates"):
        TDMPC2Recipe(data=DataConfig("episodes"))
    with pytest.raises(ValueError, match="envs is 0"):
        TDMPC2Recipe(envs=0)
    with pytest.raises(ValueError, match="at least 2 rows"):
        TDMPC2Recipe(replay=ReplayConfig(batch=4, length=1))
    assert RunConfig().optimiser.kind == "laprop"
    assert TDMPC2Recipe().training.optimiser.kind == "adam"


# -------------------------------------------------------------------------------------------------
# Several tasks

TOYS = ("toy:pendulum", "toy:balance")


def several(run: Path, frames: int = 160) -> TDMPC2Recipe:
    recipe = tiny(run, frames)
    training = replace(
        recipe.training,
        train_ratio=8.0,
        device=DeviceConfig(device="cpu", threads=1),
        log=LogConfig(every=1),
    )
    env = EnvConfig(repeat=2, max_decisions=30)
    return replace(recipe, env=env, tasks=TOYS, training=training)


def offline(run: Path, data: Path) -> TDMPC2Recipe:
    recipe = several(run)
    return replace(recipe, data=DataConfig(str(data)), training=replace(recipe.training, updates=3))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TDMPC2Recipe:
    recipe = several(tmp_path_factory.mktemp("tasks") / "a")
    result = train(recipe)
    assert result.finished
    assert result.counters.decisions == 80
    assert result.counters.updates == 40
    return recipe


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read(run / "log.jsonl", "fit")]


def test_tasks_share_a_model_and_each_has_its_own_discount(run: TDMPC2Recipe) -> None:
    loaded = load(run.run)
    assert loaded.model.spec.obs.keys() == {"observation"}
    expected = discount(30)
    assert loaded.model.tasks == (
        Task("toy:pendulum", 1, expected),
        Task("toy:balance", 2, expected),
    )
    assert loaded.agent.cost.discount == expected
    assert len(set(losses(run.run))) == 40


def test_tasks_of_other_lengths_are_looked_ahead_by_their_own_rule() -> None:
    recipe = several(Path("runs/none"))
    shared = share([EnvConfig(name) for name in TOYS])
    pendulum, balance = shared.members
    pendulum, balance = replace(pendulum, decisions=250), replace(balance, decisions=0)
    learner = recipe.build(shared.obs, shared.action, shared.dt, (pendulum, balance))
    assert [task.discount for task in learner.model.tasks] == [0.98, recipe.model.discount]
    assert learner.agent.cost.discount == 0.99
    learner = recipe.build(shared.obs, shared.action, shared.dt, shared.members)
    rates = [task.discount for task in learner.model.tasks]
    assert rates == pytest.approx([discount(200), discount(300)])


def test_both_tasks_are_acted_in_and_their_episodes_say_so(run: TDMPC2Recipe) -> None:
    store = EpisodeStore.open(run.run / "episodes")
    seen = {e.stream: store.read(e.name, 0, e.rows)["task"] for e in store.episodes()}
    assert {stream: set(task.tolist()) for stream, task in seen.items()} == {0: {0}, 1: {1}}
    before = load(run.run).recipe.build(
        store.schema.obs, store.schema.action, 0.1, load(run.run).tasks.members
    )
    change = load(run.run).model.embeddings - before.model.embeddings
    assert (change.abs().sum(1) > 0).tolist() == [True, True]


def test_a_run_that_breaks_off_resumes_bitwise(run: TDMPC2Recipe, tmp_path: Path) -> None:
    for frames in (124, 160):  # in the midst of episodes
        result = train(several(tmp_path / "b", frames))
    assert losses(tmp_path / "b") == losses(run.run)
    one, two = (load(path).learner.state_dict() for path in (run.run, result.checkpoint.parents[1]))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_each_task_is_judged_by_itself(run: TDMPC2Recipe) -> None:
    judged = evaluate_each(load(run.run), episodes=2)
    assert list(judged) == list(TOYS)
    assert judged == evaluate_each(load(run.run), episodes=2)
    kept = results(run.run)["evaluation"]["tasks"]
    assert kept["toy:balance"] == judged["toy:balance"].to_json()
    # what random actions earn is what they earn in the task itself, whatever stands beside it
    pendulum = load(run.run).tasks.makers[0]()
    row, total = pendulum.reset(episode_seed(JUDGED, 0, 0)), 0.0
    dice, seed = RandomAgent(pendulum.action, JUDGED), torch.zeros(1, dtype=torch.bool)
    memory = dice.begin(2)
    while not row.last:
        action, memory = dice.act(memory, {}, seed)
        row = pendulum.step(action[0].numpy())
        total += row.reward
    assert judged["toy:pendulum"].baseline.values[0] == pytest.approx(total, rel=1e-6)


def test_what_looks_at_one_environment_says_so(run: TDMPC2Recipe) -> None:
    loaded = load(run.run)
    for look in (evaluate, predict, film, report, lambda _: subject(str(run.run))):
        with pytest.raises(ValueError, match=r"several tasks, toy:pendulum, toy:balance.*each"):
            look(loaded)


def test_recorded_episodes_alone_are_enough(run: TDMPC2Recipe, tmp_path: Path) -> None:
    data, bare = run.run / "episodes", tmp_path / "bare"
    recorded = offline(tmp_path / "c", data)
    assert train(recorded).counters.updates == 3
    loaded = load(recorded.run)
    assert loaded.tasks == load(run.run).tasks
    assert list(evaluate_each(loaded, episodes=1)) == list(TOYS)
    # a store that does not say of what its episodes are
    shutil.copytree(data, bare)
    path = bare / "store.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "meta": {"dt": 0.1}}))
    again = offline(tmp_path / "d", bare)
    assert train(again).counters.updates == 3
    assert load(again.run).tasks == loaded.tasks
    assert losses(again.run) == losses(recorded.run)


def test_recorded_episodes_of_other_tasks_are_refused(run: TDMPC2Recipe, tmp_path: Path) -> None:
    recipe = offline(tmp_path / "e", run.run / "episodes")
    for tasks in ((), TOYS[::-1]):
        with pytest.raises(ValueError, match="set --tasks toy:pendulum toy:balance"):
            train(replace(recipe, tasks=tasks))
    single = tiny(tmp_path / "f", 60)
    train(single)
    with pytest.raises(ValueError, match="'observation': stored nothing, given float32"):
        train(replace(recipe, data=DataConfig(str(single.run / "episodes"))))
    assert not (tmp_path / "e").exists()


def test_tasks_are_judged_on_the_way_as_often_as_each_other(tmp_path: Path) -> None:
    recipe = several(tmp_path / "g", 100)
    every = EvaluateConfig(every=60, episodes=4)
    train(replace(recipe, training=replace(recipe.training, evaluate=every)))
    (line,) = read(recipe.run / "log.jsonl", "evaluate")
    assert len(line["returns"]) == 4
    assert min(line["returns"][2:]) > max(line["returns"][:2])  # a pole that stands earns more


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"envs": 3}, "envs is 3 and there are 2 tasks; give a multiple of 2"),
        (
            {"training": RunConfig(evaluate=EvaluateConfig(every=10, episodes=5))},
            "episodes is 5 and there are 2 tasks",
        ),
    ],
)
def test_tasks_of_unequal_shares_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TDMPC2Recipe(tasks=TOYS, **changes)


def test_one_task_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"at least 2; given was .*--env NAME"):
        train(replace(several(tmp_path / "h"), tasks=TOYS[:1]))


def test_the_command_line_trains_and_judges_tasks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--envs 2 --env.repeat 2 --env.max-decisions 10 --size custom --model.net.encoder 16 "
    words += "--model.net.width 16 --model.net.latent 16 --search.samples 16 --search.elites 4 "
    words += "--plan.proposals 3 --training.frames 60 --training.prefill.decisions 20 "
    words += "--training.train-ratio 4 --training.log.progress off --training.device.threads 1 "
    words += "--replay.batch 4"
    run = str(tmp_path / "i")
    assert main(["train", "tdmpc2", "--tasks", *TOYS, "--run", run, *words.split()]) == 0
    capsys.readouterr()
    assert main(["returns", run, "--episodes", "2"]) == 0
    said = capsys.readouterr().out
    for line in ("toy:pendulum, learned", "toy:pendulum, random", "toy:balance, learned"):
        assert line in said
    assert main(["plan", run]) == 1
    assert "reverie returns" in capsys.readouterr().err
