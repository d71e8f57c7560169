#!/bin/sh
# Record a table on which words are obeyed and a room that a camera goes through; train on each.
#     bash bench/steered.sh [UPDATES OF THE ROOM] [THREADS] [UPDATES OF THE TABLE]
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
# Words are learnt from where no action is told, and where nothing else tells what comes next: one
# frame says all of a table on which nothing moves by itself. Many small updates teach them.
learn tabletop --model.frames 1 --model.unet.patch 4 --model.unet.channels 48 96 \
    --model.heads.members 0 --model.flow.silent 0.9 --model.flow.start 0.9 \
    --replay.batch 12 --replay.length 4 --training.updates "${3:-7600}" \
    --training.device.threads "${2:-1}"
