r"""Time one DreamerV3 update of ours beside the two public implementations, in the same run.

The work is the same for all: walker proprioception (24 numbers), six continuous actions, a batch of
16 sequences of 64 rows, imagination of 15 steps from all 1024 states, float32 on the CPU; forward,
backward and optimiser step. Batches of random numbers are made ahead and are not in the time.

Every implementation is a process of its own, started once, which stands still while it is not
asked. A round asks each in turn (A B C, A B C, ...) for one update to warm up and then `--updates`
timed ones. Columns, in milliseconds per update:

* `median`: of the rounds' medians, wall clock; `min`: the fastest single update.
* `CPU`: processor time summed over threads, median of the rounds' medians. With `--threads 1` it
  remains comparable when other programs take the cores; more threads also spend it on waiting.
* `elsewhere`: how many cores other programs kept busy meanwhile. Above 0.1 the wall clock is no
  evidence: run again on a quiet machine.
* `ratio`: wall clock of ours over that of the faster peer, round by round, median of the rounds.
  Below 1 ours is faster. The line under the table gives the same of `CPU` and `min`.

The peers are no dependencies; each wants an environment of its own, with

* danijar/dreamerv3: jax==0.4.33 jaxlib==0.4.33 "numpy<2" "optax<0.2.4" "chex<0.1.88" ninjax
  elements granular portal scope einops jaxtyping ruamel.yaml
* NM512/r2dreamer: torch "tensordict>=0.14,<0.15" "torchrl>=0.14,<0.15" hydra-core gymnasium
  tensorboard

    python bench/dreamer_update.py --size 1m --rounds 5 --json update.json \
        --peer-jax CHECKOUT:PYTHON --peer-torch CHECKOUT:PYTHON

This file also runs inside the peers' interpreters: it needs nothing but the standard library.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
BATCH, LENGTH, HORIZON = 16, 64, 15
OBS = {"orientations": (14,), "height": (1,), "velocity": (9,)}
ACTIONS = 6
# Widths of the published sizes: deter, hidden, classes, convolution depth, units.
SIZES = {
    "1m": (512, 64, 4, 4, 64),
    "12m": (2048, 256, 16, 16, 256),
    "25m": (3072, 384, 24, 24, 384),
    "50m": (4096, 512, 32, 32, 512),
}
Update = Callable[[], object]


# -------------------------------------------------------------------------------------------------
# Inside a worker: build one implementation.


@dataclass(frozen=True)
class Built:
    """One implementation, ready: `update()` does one update and returns when it is done."""

    update: Update
    parameters: int
    versions: dict[str, str]


def versions_of(*names: str) -> dict[str, str]:
    """Versions of installed distributions, and of the interpreter."""
    from importlib.metadata import version

    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def ours(size: Any, compile: bool, threads: int) -> Built:
    """Our learner through its recipe: one update, and how many parameters it moves."""
    sys.path.insert(0, str(ROOT))
    try:
        from walker import benchmark_update
    except ImportError as error:
        raise RuntimeError(
            f"{sys.executable} cannot import what bench/walker.py needs ({error}); "
            'install the project into this interpreter: pip install -e ".[dev]"'
        ) from error
    update, parameters = benchmark_update(size=size, compile=compile, threads=threads)
    return Built(update, parameters, versions_of("torch", "numpy"))


def peer_torch(checkout: str, size: str, batches: int) -> Built:
    """NM512/r2dreamer with the decoder loss of Dreamer, eager, in float32."""
    load = importlib.import_module
    torch, np, hydra, spaces = load("torch"), load("numpy"), load("hydra"), load("gymnasium").spaces
    bundle = load("tensordict").TensorDict
    sys.path.insert(0, checkout)
    module: Any = load("dreamer")
    # Its update runs in float16 under autocast; nothing else stands between it and float32.
    module.autocast = lambda **_: contextlib.nullcontext()
    names = ("deter", "hidden", "discrete", "depth", "units")
    widths = [f"model.{name}={value}" for name, value in zip(names, SIZES[size], strict=True)]
    fixed = ["env=dmc_proprio", "device=cpu", "model.rep_loss=dreamer", "model.compile=False"]
    with hydra.initialize_config_dir(config_dir=f"{checkout}/configs", version_base=None):
        config = hydra.compose("configs", overrides=[*fixed, *widths])
    load("omegaconf").OmegaConf.set_struct(config, False)
    sensors = {k: spaces.Box(-np.inf, np.inf, shape, np.float32) for k, shape in OBS.items()}
    agent = module.Dreamer(
        config.model, spaces.Dict(sensors), spaces.Box(-1, 1, (ACTIONS,), np.float32)
    )
    rows = (BATCH, LENGTH)

    def batch() -> Any:
        never = torch.zeros(*rows, 1, dtype=torch.bool)
        tensors = {key: torch.randn(*rows, *shape) for key, shape in OBS.items()}
        tensors |= {"action": torch.rand(*rows, ACTIONS) * 2 - 1, "reward": torch.rand(*rows, 1)}
        tensors |= {"is_first": never[..., 0], "is_last": never, "is_terminal": never}
        return bundle(tensors, batch_size=rows)

    class Ring:
        """What the agent asks of a replay buffer, on batches made ahead."""

        def sample(self) -> tuple[Any, None, Any]:
            return next(stock).clone(), None, agent.rssm.initial(BATCH)

        def update(self, *_: object) -> None:
            pass

    stock, ring = itertools.cycle([batch() for _ in range(batches)]), Ring()
    trained = sum(p.numel() for p in agent.parameters() if p.requires_grad)
    return Built(
        lambda: agent.update(ring), trained, versions_of("torch", "tensordict", "torchrl", "numpy")
    )


def peer_jax(checkout: str, size: str, batches: int) -> Built:
    """danijar/dreamerv3, jitted as it always is, computing in float32."""
    load = importlib.import_module
    jax, np = load("jax"), load("numpy")
    jax.devices()  # Reads XLA_FLAGS now: the agent's own set-up writes over them.
    sys.path.insert(0, checkout)
    elements, embodied = load("elements"), load("embodied")
    agent_class = load("dreamerv3.agent").Agent
    yaml = load("ruamel.yaml").YAML(typ="safe")
    configs = yaml.load(Path(checkout, "dreamerv3", "configs.yaml").read_text())
    config = elements.Config(configs["defaults"]).update(configs["dmc_proprio"])
    config = config.update(configs[f"size{size}"])
    config = config.update({"jax.platform": "cpu", "jax.compute_dtype": "float32"})
    flags = {key: elements.Space(bool) for key in ("is_first", "is_last", "is_terminal")}
    obs = {key: elements.Space(np.float32, shape) for key, shape in OBS.items()}
    obs |= {"reward": elements.Space(np.float32), **flags}
    act = {"action": elements.Space(np.float32, (ACTIONS,), -1, 1)}
    context = config.replay_context
    settings = {"logdir": os.devnull, "seed": 0, "batch_size": BATCH, "report_length": 32}
    settings |= {"batch_length": LENGTH, "replay_context": context, "replica": 0, "replicas": 1}
    # Unless told otherwise it starts a profiler at its hundredth update.
    settings["jax"] = elements.Config(**config.jax, profiler=False)
    agent = agent_class(obs, act, elements.Config(**config.agent, **settings))
    rng = np.random.default_rng(0)
    rows = (BATCH, LENGTH + context)

    def batch() -> dict[str, Any]:
        values = {k: np.zeros((*rows, *v.shape), v.dtype) for k, v in agent.spaces.items()}
        for key in OBS:
            values[key] = rng.standard_normal(values[key].shape).astype(np.float32)
        values["action"] = rng.uniform(-1, 1, values["action"].shape).astype(np.float32)
        values["reward"] = rng.random(rows).astype(np.float32)
        return values

    stream = iter(agent.stream(embodied.streams.Stateless(batch)))
    stock = itertools.cycle([next(stream) for _ in range(batches)])
    carry = agent.init_train(BATCH)

    def update() -> None:
        nonlocal carry
        carry, _, _ = agent.train(carry, dict(next(stock)))
        jax.block_until_ready((carry, agent.params))

    learned = ("enc/", "dyn/", "dec/", "rew/", "con/", "pol/", "val/")
    trained = sum(v.size for k, v in agent.params.items() if k.startswith(learned))
    return Built(update, trained, versions_of("jax", "jaxlib", "numpy"))


def build(spec: Mapping[str, Any]) -> Built:
    """The implementation that a worker was asked for, with as many threads as it was asked for."""
    if spec["threads"] and spec["kind"] != "jax":
        importlib.import_module("torch").set_num_threads(spec["threads"])
    if spec["kind"] == "ours":
        return ours(spec["size"], spec["compile"], spec["threads"])
    peer = peer_jax if spec["kind"] == "jax" else peer_torch
    return peer(spec["checkout"], spec["size"], spec["updates"] + 1)


def threads_of(kind: str) -> int | None:
    """Threads of torch's pool; XLA does not tell."""
    return None if kind == "jax" else int(importlib.import_module("torch").get_num_threads())


def work(spec: Mapping[str, Any]) -> None:
    """Answer each line on standard input with the times of one round, as a line of JSON."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # The peers print; their words go to the log.
    start = time.perf_counter()
    built = build(spec)
    built.update()
    ready = {
        "parameters": built.parameters,
        "versions": built.versions,
        "setup_s": time.perf_counter() - start,
        "threads": threads_of(spec["kind"]),
    }
    answers.write(json.dumps(ready) + "\n")
    for _ in sys.stdin:
        began = time.process_time()
        built.update()
        wall, cpu = [], []
        for _ in range(spec["updates"]):
            t, c = time.perf_counter(), time.process_time()
            built.update()
            wall.append(1e3 * (time.perf_counter() - t))
            cpu.append(1e3 * (time.process_time() - c))
        spent = time.process_time() - began
        answers.write(json.dumps({"wall": wall, "cpu": cpu, "spent_s": spent}) + "\n")


# -------------------------------------------------------------------------------------------------
# The parent: start the workers, ask them in turn, print.


@dataclass
class Contender:
    """One line of the table: a worker process and what it answered."""

    name: str
    kind: str
    process: subprocess.Popen[str]
    log: IO[bytes]
    about: dict[str, Any] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)

    def receive(self) -> dict[str, Any]:
        """The next answer; an error with the end of the worker's log when there is none."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            tail = self.log.read().decode(errors="replace").strip().splitlines()[-12:]
            raise RuntimeError(
                f"{self.name} stopped (exit {self.process.wait()}):\n" + "\n".join(tail)
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def round(self) -> None:
        """Ask for one round, and note how busy other programs kept the machine meanwhile."""
        assert self.process.stdin is not None
        busy, start = busy_seconds(), time.perf_counter()
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        answer = self.receive()
        lasted, after = time.perf_counter() - start, busy_seconds()
        elsewhere = None
        if busy is not None and after is not None:
            elsewhere = max(0.0, (after - busy - answer["spent_s"]) / lasted)
        self.rounds.append({**answer, "elsewhere": elsewhere})

    def medians(self, clock: str) -> list[float]:
        """The median of each round [ms]; `clock` is `wall` or `cpu`."""
        return [statistics.median(answer[clock]) for answer in self.rounds]

    def fastest(self) -> float:
        """The fastest single update [ms]."""
        return min(min(answer["wall"]) for answer in self.rounds)

    def elsewhere(self) -> float | None:
        """Cores that other programs kept busy, mean of the rounds; None where nothing tells."""
        values = [answer["elsewhere"] for answer in self.rounds]
        return None if None in values else statistics.fmean(values)

    def close(self) -> None:
        """End the worker by closing its input."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def busy_seconds() -> float | None:
    """Seconds that all cores together were busy since the machine started (Linux), else None."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, steal = (int(value) for value in fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def environment(threads: int) -> dict[str, str]:
    """The worker's environment: none of our Python paths; every library's limit of threads."""
    foreign = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    env = {key: value for key, value in os.environ.items() if key not in foreign}
    if threads:
        for name in (
            "OMP_NUM_THREADS",
            "MKL_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "NPROC",
            "PJRT_NPROC",
        ):
            env[name] = str(threads)
        if threads == 1:
            flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
            env["XLA_FLAGS"] = f"{env.get('XLA_FLAGS', '')} {flags}".strip()
    return env


def start(name: str, python: str, spec: Mapping[str, Any]) -> Contender:
    """Start one worker; it answers once it has done its first update."""
    log = tempfile.TemporaryFile()  # noqa: SIM115
    command = [python, str(Path(__file__).resolve()), "--worker", json.dumps(dict(spec))]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=environment(spec["threads"])
    )
    return Contender(name, spec["kind"], process, log)


def commit(directory: str | Path) -> str | None:
    """The commit checked out in a directory, with `+` when files differ from it."""
    git = ["git", "-C", str(directory)]
    found = subprocess.run(
        [*git, "rev-parse", "--short=12", "HEAD"], check=False, capture_output=True, text=True
    )
    if found.returncode:
        return None
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--untracked-files=no"],
        check=False,
        capture_output=True,
        text=True,
    )
    return found.stdout.strip() + ("+" if changed.stdout.strip() else "")


def hardware() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            (x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), model
        )
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.platform(terse=True)}


def ratios(mine: Contender, peer: Contender) -> dict[str, float]:
    """Ours over the peer's: wall clock and processor time paired by round, and the minima."""
    paired = {
        clock: statistics.median(
            a / b for a, b in zip(mine.medians(clock), peer.medians(clock), strict=True)
        )
        for clock in ("wall", "cpu")
    }
    return {**paired, "min": mine.fastest() / peer.fastest()}


def summary(contenders: Sequence[Contender]) -> list[dict[str, Any]]:
    """The rows of the table; ours carry ratios to the peer with the lower median."""
    peers = [c for c in contenders if c.kind != "ours"]
    best = min(peers, key=lambda c: statistics.median(c.medians("wall")), default=None)
    rows = []
    for c in contenders:
        row = {
            "implementation": c.name,
            **c.about,
            "median_ms": statistics.median(c.medians("wall")),
            "min_ms": c.fastest(),
            "cpu_ms": statistics.median(c.medians("cpu")),
            "elsewhere": c.elsewhere(),
            "rounds": c.rounds,
        }
        if c.kind == "ours" and best is not None:
            row |= {"faster_peer": best.name, "ratio": ratios(c, best)}
        rows.append(row)
    return rows


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the table."""
    head = ("implementation", "parameters", "threads", "median", "min", "CPU", "elsewhere", "ratio")
    print("{:<26}{:>11}{:>9}{:>9}{:>9}{:>9}{:>11}{:>8}".format(*head))
    for row in rows:
        elsewhere = "?" if row["elsewhere"] is None else f"{row['elsewhere']:.2f}"
        ratio = f"{row['ratio']['wall']:.2f}" if "ratio" in row else "-"
        print(
            f"{row['implementation']:<26}{row['parameters']:>11,}{row['threads'] or 'default':>9}"
            f"{row['median_ms']:>9.0f}{row['min_ms']:>9.0f}{row['cpu_ms']:>9.0f}"
            f"{elsewhere:>11}{ratio:>8}"
        )
    for row in rows:
        if "ratio" in row:
            values = ", ".join(f"{key} {value:.2f}" for key, value in row["ratio"].items())
            print(f"{row['implementation']} / {row['faster_peer']}: {values}")


def asked(options: argparse.Namespace) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, interpreter and specification of every worker, ours first."""
    shared = {"size": options.size, "updates": options.updates, "threads": options.threads}
    for mode in options.ours:
        spec = {"kind": "ours", "compile": mode == "compiled", **shared}
        yield f"reverie, {mode}", sys.executable, spec
    peers = (
        ("jax", "danijar/dreamerv3, jax", options.peer_jax),
        ("torch", "NM512/r2dreamer, torch", options.peer_torch),
    )
    for kind, name, place in peers:
        if place:
            checkout, python = place
            yield name, python, {"kind": kind, "checkout": checkout, **shared}


def place(text: str) -> tuple[str, str]:
    """Read CHECKOUT:PYTHON."""
    checkout, separator, python = text.rpartition(":")
    if not separator or not Path(checkout).is_dir() or not Path(python).is_file():
        raise argparse.ArgumentTypeError(
            f"{text!r} is not CHECKOUT:PYTHON with a directory and an interpreter that exist"
        )
    return str(Path(checkout).resolve()), python


def positive(text: str) -> int:
    """Read an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--size", choices=SIZES, default="1m")
    parser.add_argument("--ours", nargs="*", choices=("eager", "compiled"), default=["eager"])
    parser.add_argument("--peer-jax", type=place, metavar="CHECKOUT:PYTHON")
    parser.add_argument("--peer-torch", type=place, metavar="CHECKOUT:PYTHON")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--updates", type=positive, default=8, help="timed updates per round")
    parser.add_argument(
        "--threads", type=int, default=0, help="limit of each library; 0: its own choice"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    parser.add_argument("--worker", metavar="SPEC", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> list[Contender]:
    """Start the workers, then ask them in turn; one that fails is named and left out."""
    contenders: list[Contender] = []
    options.failed = []
    for name, python, spec in asked(options):
        print(f"starting {name} ...", file=sys.stderr, flush=True)
        contender = start(name, python, spec)
        try:
            contender.about = contender.receive()
        except RuntimeError as error:
            print(error, file=sys.stderr)
            options.failed.append(name)
            contender.close()
            continue
        if contender.about["threads"] is None:
            contender.about["threads"] = options.threads
        if spec.get("checkout"):
            contender.about["commit"] = commit(spec["checkout"])
        contenders.append(contender)
    for number in range(options.rounds):
        for contender in contenders:
            time.sleep(0.3)  # Thread pools of the one asked before fall asleep.
            contender.round()
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    for contender in contenders:
        contender.close()
    return contenders


def main(arguments: Sequence[str]) -> int:
    """Measure and print; returns 1 when an implementation that was asked for did not run."""
    options = parse(arguments)
    if options.worker:
        work(json.loads(options.worker))
        return 0
    rows = summary(measure(options))
    where = hardware()
    load = os.getloadavg()[0]
    print(
        f"One DreamerV3 update, size {options.size}, B{BATCH} x T{LENGTH}, H{HORIZON}, float32, ms"
    )
    print(f"{where['cpu']}, {where['cores']} cores; reverie {commit(ROOT)}; load {load:.1f}")
    if rows:
        show(rows)
    if not (options.peer_jax or options.peer_torch):
        print("No peer was given (--peer-jax, --peer-torch): a bare time says little.")
    for name in options.failed:
        print(f"{name} did not run: see above.")
    if options.json:
        facts = {"size": options.size, "batch": BATCH, "length": LENGTH, "horizon": HORIZON}
        facts |= {"updates_per_round": options.updates, "threads": options.threads, "load": load}
        facts |= {"hardware": where, "commit": commit(ROOT), "failed": options.failed, "rows": rows}
        options.json.write_text(json.dumps(facts, indent=2) + "\n")
    return 1 if options.failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
