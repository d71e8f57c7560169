#!/bin/sh
# Record PushT and train a video model of it: what bench/pusht.py measures.
#     bash bench/pusht.sh [UPDATES] [THREADS] [OPTIONS OF reverie train unisim]
# The same command goes on where it was stopped. Recording: 206,400 frames, 9 minutes on two cores.
set -eu
export SDL_VIDEODRIVER=dummy
PATH="$(dirname "$0")/../.venv/bin:$PATH"
record() {
    reverie collect --env gym:gym_pusht/PushT-v0 --env.pixels --env.with-state --format store \
        --env.max-decisions 100 --envs 8 --workers 2 "$@"
}
pushing="--policy scripted --noise 0.1 --random 0.5 --hold 6"
if [ ! -d runs/pusht/held-out ]; then
    record --out runs/pusht/held-out $pushing --episodes 64 --seed 1000000
fi
if [ ! -d runs/pusht/train ]; then
    for half in 1 2; do
        record --out runs/pusht/train $pushing --episodes 600
        record --out runs/pusht/train --policy scripted --random 1 --hold 5 --episodes 200
        record --out runs/pusht/train --policy scripted --noise 0.2 --episodes 200
    done
fi
updates=${1:-16000}
threads=${2:-2}
shift "$(($# < 2 ? $# : 2))"
reverie train unisim --data runs/pusht/train --data.sensors image --run runs/pusht/unisim \
    --training.updates "$updates" --training.device.threads "$threads" --training.log.every 200 "$@"
