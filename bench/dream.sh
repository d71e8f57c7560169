#!/bin/sh
# A policy that learns inside a video model of a robot that acted at random, judged in the simulator.
#     bash bench/dream.sh [UPDATES OF THE MODEL] [OF THE POLICY] [THREADS]
# The same command goes on where it was stopped; the result is runs/cartpole/unisim/dream/result.json.
set -eu
PATH="$(dirname "$0")/../.venv/bin:$PATH"
robot="--env dmc:cartpole_balance --env.pixels --env.with-state --env.repeat 4 --env.size 48 48"
[ -d runs/cartpole/train ] ||
    reverie collect $robot --env.max-decisions 60 --out runs/cartpole/train --format store \
        --envs 8 --episodes 600
reverie train unisim $robot --data runs/cartpole/train --run runs/cartpole/unisim \
    --model.unet.patch 4 --model.unet.channels 32 64 --model.flow.settle 800 --model.flow.start 0.8 \
    --training.updates "${1:-2000}" --training.log.every 100 --training.device.threads "${3:-1}"
reverie dream runs/cartpole/unisim --behaviour.horizon 10 \
    --behaviour.starts 3 --training.updates "${2:-1000}" --training.log.every 20 --judged 50 \
    --training.device.threads "${3:-1}"
