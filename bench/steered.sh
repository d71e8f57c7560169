#!/bin/sh
# Record a table on which words are obeyed and a room that a camera goes through; train on each.
#     bash bench/steered.sh [UPDATES] [THREADS]
# The same command goes on where it was stopped.
set -eu
PATH="$(dirname "$0")/../.venv/bin:$PATH"
record() { reverie collect --format store --env.pixels --envs 8 --policy scripted "$@"; }
learn() {
    world=$1
    shift
    reverie train unisim --env "toy:$world" --env.pixels --env.max-decisions 0 \
        --data "runs/$world/train" --run "runs/$world/unisim" --training.log.every 200 "$@"
}
[ -d runs/tabletop/train ] ||
    record --env toy:tabletop --out runs/tabletop/train --noise 0.2 --episodes 2000
[ -d runs/room/train ] || record --env toy:room --out runs/room/train --episodes 800
learn room --replay.batch 4 --training.updates "${1:-1500}" --training.device.threads "${2:-1}"
# Words are learnt from where the action is hidden, so it is, often.
learn tabletop --model.flow.drop 0.4 --model.flow.settle 800 --model.unet.channels 32 64 128 \
    --replay.batch 3 --replay.length 8 --training.updates "${1:-12000}" \
    --training.device.threads "${2:-1}"
