"""Which simulator, and how many copies."""

import pytest

from reverie.data.serial import from_json, to_json
from reverie.envs import EnvConfig
from reverie.models.oracle import OracleConfig

ENV = EnvConfig("dmc:cartpole_swingup", repeat=2)


@pytest.mark.parametrize(("options", "word"), [({"threads": 0}, "threads"), ({"seed": -1}, "seed")])
def test_an_impossible_config_is_refused(options, word):
    with pytest.raises(ValueError, match=word):
        OracleConfig(ENV, **options)


def test_it_survives_json():
    config = OracleConfig(ENV, threads=3, seed=4)
    assert from_json(OracleConfig, to_json(config)) == config
