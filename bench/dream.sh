#!/bin/sh
# A policy that learns inside a video model of a pole on a cart, of which random pushes were recorded,
# judged in the simulator.
#     bash bench/dream.sh [UPDATES OF THE MODEL] [OF THE POLICY] [THREADS]
# The same command goes on where it was stopped; the result is runs/pole/unisim/dream/result.json.
set -eu
PATH="$(dirname "$0")/../.venv/bin:$PATH"
robot="--env toy:balance --env.pixels --env.with-state --env.repeat 2 --env.size 48 48"
[ -d runs/pole/train ] ||
    reverie collect $robot --out runs/pole/train --format store --envs 8 --episodes 2000
reverie train unisim $robot --data runs/pole/train --run runs/pole/unisim \
    --model.unet.patch 4 --model.unet.channels 32 64 --model.flow.settle 800 --model.flow.start 0.8 \
    --training.updates "${1:-1500}" --training.log.every 100 --training.device.threads "${3:-1}"
reverie dream runs/pole/unisim --behaviour.horizon 10 --behaviour.starts 3 --judged 50 \
    --training.updates "${2:-400}" --training.log.every 20 --training.device.threads "${3:-1}"
