"""What random actions earn in the episodes that judge the demo, by the seed of the actions.

    python bench/random_actions.py --out bench/results/random_actions.json

Ten episodes say little of a mean that varies as much as this one: a ratio to one draw of it does
not stand for a ratio to the mean.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reverie.envs import EnvConfig
from reverie.eval.returns import RandomAgent, summarise
from reverie.learn.collect import play
from reverie.learn.device import DeviceConfig, settle
from reverie.recipes.run import JUDGED, judges
from reverie.viz.provenance import provenance

ENV = EnvConfig("dmc:cartpole_swingup", repeat=4)


def main() -> None:
    """Ten episodes for each seed, then all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[JUDGED, *range(1, 11)])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device, means, values = settle(DeviceConfig(device="cpu")), {}, []
    for seed in options.seeds:
        with judges(ENV, 10, JUDGED) as envs:
            agent = RandomAgent(envs.action, seed)
            returns = play(agent, envs, 10, device=device, seed=JUDGED).returns
        means[str(seed)] = float(returns.mean())
        values += returns.tolist()
        print(f"seed {seed}: {means[str(seed)]:.1f}")
    whole = summarise(values)
    print(f"all: {whole.mean:.1f} ({whole.low:.1f} to {whole.high:.1f}), {whole.n} episodes")
    if options.out:
        found = {"means": means, "all": whole.to_json(), **provenance()}
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
