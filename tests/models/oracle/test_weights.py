"""Which simulator an oracle is, in a file."""

import json

import pytest

from reverie.envs import EnvConfig
from reverie.models.oracle import Oracle
from reverie.models.oracle.weights import WeightsError, fingerprint, load, save

CARTPOLE = EnvConfig("dmc:cartpole_swingup", repeat=2)


def test_a_fingerprint_is_repeatable_and_of_one_simulator():
    one = fingerprint(CARTPOLE)
    assert one == fingerprint(CARTPOLE)
    assert one["env"] == "dmc:cartpole_swingup" and one["size"] == 28
    assert set(one["versions"]) == {"mujoco", "dm_control"}
    other = fingerprint(EnvConfig("dmc:reacher_easy"))
    assert other["model"] != one["model"]
    assert other["fields"] == {"model.geom_pos": 30}


def test_an_oracle_comes_back(tmp_path):
    with Oracle(CARTPOLE, seed=5) as model:
        where = save(model, tmp_path / "a")
        with load(where) as again:
            assert again.config == model.config
            assert again.initial(2).physics.equal(model.initial(2).physics)
        with pytest.raises(WeightsError, match="not empty"):
            save(model, where)


def test_another_simulator_is_refused(tmp_path):
    with Oracle(CARTPOLE) as model:
        path = save(model, tmp_path / "a") / "model.json"
    about = json.loads(path.read_text())
    about["simulator"]["versions"]["mujoco"] = "1.0"
    path.write_text(json.dumps(about))
    with pytest.raises(WeightsError, match=r"not the one that was saved.*versions was .*1\.0"):
        load(path.parent)
    path.write_text(json.dumps({**about, "family": "dreamer"}))
    with pytest.raises(WeightsError, match="family 'dreamer'"):
        load(path.parent)
    path.write_text("{")
    with pytest.raises(WeightsError, match="damaged"):
        load(path.parent)
    with pytest.raises(WeightsError, match="No model is in"):
        load(tmp_path)
