"""The rules of the rooms (docs/rooms.md), held by reading the code.

Each rule is a function from a file to the places that break it; `test_seeded_faults_are_found`
shows that each one bites. The lists of exceptions may only shrink: an entry that is no longer
needed fails.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "reverie"

FILE_LINES = 400
FUNCTION_LINES = 50
CONFIG_FIELDS = 10
CORE_FILES = 6
CORE_LINES = 1500
FAMILY_FILES = ("README.md", "config.py", "loss.py", "model.py", "weights.py")

BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "misc", "manager", "managers"}
HEAVY = {
    *("PIL", "dm_control", "dm_env", "gymnasium", "imageio", "imageio_ffmpeg", "lz4", "mujoco"),
    *("tensorboard", "zstandard", "warp", "viser", "av", "fsspec", "h5py", "pyarrow"),
    *("starlette", "uvicorn", "websockets"),
}
KERNELS = "/kernels.py"  # in a solver's folder: compiled by Warp, loaded when first used
PRINTERS = ("cli/", "learn/log.py")
DEVICE_ROOMS = ("cli/", "learn/", "serve/")

# In these rooms randomness is an argument of every function but `noise` and the fillers of fresh
# parameters; in the others a draw names its generator.
DETERMINISTIC_ROOMS = ("models/", "nn/", "imagine/", "plan/")
SEEDING_ROOMS = ("cli/", "learn/", "recipes/")
SEEDING_FILES = {"core/check.py"}  # under fork_rng, so that a model with hidden draws is caught
TORCH_DRAWS = {
    *("bernoulli", "multinomial", "normal", "poisson", "rand", "rand_like", "randint"),
    *("randint_like", "randn", "randn_like", "randperm"),
}
IN_PLACE_DRAWS = {
    *("bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_"),
    *("random_", "trunc_normal_", "uniform_"),
}

LONG_FUNCTIONS: set[str] = set()
LONG_FILES = {"core/check.py"}
UNMIRRORED: set[str] = set()


class Source:
    """One file of the package, parsed."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.tree = ast.parse(text)

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def at(self, node: ast.AST, what: str) -> str:
        return f"reverie/{self.path}:{getattr(node, 'lineno', 1)}: {what}"


SOURCES = [
    Source(path.relative_to(PACKAGE).as_posix(), path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
]


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an expression, or the empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its decorators and its docstring."""
    first = function.body[0]
    has_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    text = (first.end_lineno or 0) - first.lineno + 1 if has_text else 0
    return (function.end_lineno or 0) - function.lineno + 1 - text


def long_functions(source: Source) -> Iterator[str]:
    for function in source.functions():
        lines = body_lines(function)
        if lines > FUNCTION_LINES:
            what = f"{function.name} has {lines} lines; split it, {FUNCTION_LINES} is the limit"
            yield source.at(function, what)


def long_file(source: Source) -> Iterator[str]:
    lines = len(source.text.splitlines())
    if lines > FILE_LINES:
        yield source.at(source.tree, f"{lines} lines; split it, {FILE_LINES} is the limit")


def is_dataclass(node: ast.ClassDef) -> bool:
    heads = (d.func if isinstance(d, ast.Call) else d for d in node.decorator_list)
    return any(dotted(head).rpartition(".")[2] == "dataclass" for head in heads)


def wide_configs(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith("Config"):
            fields = sum(isinstance(line, ast.AnnAssign) for line in node.body)
            if not is_dataclass(node):
                yield source.at(node, f"{node.name} is not a frozen dataclass")
            elif fields > CONFIG_FIELDS:
                what = f"{node.name} has {fields} fields; nest some, {CONFIG_FIELDS} is the limit"
                yield source.at(node, what)


def banned_module_name(source: Source) -> Iterator[str]:
    for part in Path(source.path).with_suffix("").parts:
        if BANNED_NAMES & set(part.lower().split("_")):
            yield source.at(source.tree, f"{part!r} says nothing; name it after what it does")


def prints(source: Source) -> Iterator[str]:
    if source.path.startswith(PRINTERS):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and dotted(node.func) == "print":
            yield source.at(node, f"print; only {PRINTERS} speak to a terminal")


def unpickling(source: Source) -> Iterator[str]:
    names = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported = {alias.name.partition(".")[0] for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                imported = {(node.module or "").partition(".")[0]}
            if imported & names:
                yield source.at(node, "nothing is ever unpickled; use safetensors and JSON")
        elif isinstance(node, ast.Call):
            allowed = any(
                word.arg == "allow_pickle"
                and not (isinstance(word.value, ast.Constant) and word.value.value is False)
                for word in node.keywords
            )
            if allowed or dotted(node.func) in {"torch.load", "torch.save"}:
                yield source.at(node, "nothing is ever unpickled; use safetensors and JSON")


def devices(source: Source) -> Iterator[str]:
    if source.path.startswith(DEVICE_ROOMS):
        return
    for node in ast.walk(source.tree):
        literal = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if literal and (node.value == "cuda" or node.value.startswith("cuda:")):
            yield source.at(node, f"a device is chosen in {DEVICE_ROOMS} only")
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr == "cuda":
            yield source.at(node, f"a device is chosen in {DEVICE_ROOMS} only")


def at_import_time(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when the module is imported: not those inside functions."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and dotted(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        for part in ("body", "orelse", "finalbody"):
            yield from at_import_time(getattr(node, part, []))
        for handler in getattr(node, "handlers", []):
            yield from at_import_time(handler.body)


def heavy_imports(source: Source) -> Iterator[str]:
    if source.path.startswith("physics/") and source.path.endswith(KERNELS):
        return
    for node in at_import_time(source.tree.body):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        for module in modules:
            if module.partition(".")[0] in HEAVY or module == "torch.utils.tensorboard":
                yield source.at(node, f"import {module} inside the function that needs it")


def is_draw(call: ast.Call) -> bool:
    name = dotted(call.func)
    if name.startswith(("np.random.", "numpy.random.")):
        return name.rpartition(".")[2] not in {"default_rng", "Generator", "SeedSequence", "PCG64"}
    if name.startswith("torch.") and name.count(".") == 1:
        return name.removeprefix("torch.") in TORCH_DRAWS
    return isinstance(call.func, ast.Attribute) and call.func.attr in IN_PLACE_DRAWS


def may_draw(path: str, function: str, call: ast.Call) -> bool:
    words = function.strip("_").split("_")
    if path.startswith(("models/", "nn/")) and (
        "fill" in words or function in {"__init__", "reset_parameters"}
    ):
        return True
    if path in SEEDING_FILES:
        return True
    if not any(word.arg == "generator" for word in call.keywords):
        return False
    return (
        not path.startswith(DETERMINISTIC_ROOMS)
        or "noise" in words
        or (path.startswith("plan/") and "sample" in words)
    )


def random_draws(source: Source) -> Iterator[str]:
    def visit(node: ast.AST, function: str) -> Iterator[str]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        if (
            isinstance(node, ast.Call)
            and is_draw(node)
            and not may_draw(source.path, function, node)
        ):
            name = dotted(node.func) or ast.unparse(node.func)
            what = "randomness is an argument, made by `noise` from a generator that is passed"
            yield source.at(node, f"{name} draws; {what}")
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function)

    yield from visit(source.tree, "")


def global_seeds(source: Source) -> Iterator[str]:
    if source.path.startswith(SEEDING_ROOMS) or source.path in SEEDING_FILES:
        return
    banned = {"torch.manual_seed", "np.random.seed", "numpy.random.seed", "random.seed"}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and dotted(node.func) in banned:
            yield source.at(node, "sets a global random state; pass a Generator")


def core_needs_only_torch(source: Source) -> Iterator[str]:
    if not source.path.startswith("core/"):
        return
    for node in ast.walk(source.tree):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        for module in modules:
            top = module.partition(".")[0]
            if top not in {"torch", "reverie"} and top not in sys.stdlib_module_names:
                yield source.at(node, f"imports {module}; the core needs nothing but torch")


def named_families(source: Source) -> Iterator[str]:
    """A use, or anything below it, reaching a family by import or by a late import of its name."""
    room = source.path.partition("/")[0]
    if room in {"cli", "recipes", "models", "__init__.py"}:
        return
    for node in ast.walk(source.tree):
        name = ""
        if isinstance(node, ast.ImportFrom):
            name = node.module or ""
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value
        if name == "reverie.models" or name.startswith("reverie.models."):
            yield source.at(node, "only recipes and the command line name a family")


RULES: dict[str, Callable[[Source], Iterator[str]]] = {
    "config": wide_configs,
    "module name": banned_module_name,
    "print": prints,
    "pickle": unpickling,
    "device": devices,
    "heavy import": heavy_imports,
    "draw": random_draws,
    "global seed": global_seeds,
    "core": core_needs_only_torch,
    "family": named_families,
}


@pytest.mark.parametrize("rule", RULES)
def test_rule(rule: str) -> None:
    found = [fault for source in SOURCES for fault in RULES[rule](source)]
    assert not found, "\n".join(["", *found])


def test_functions_are_short_and_the_exceptions_only_shrink() -> None:
    long = {}
    for source in SOURCES:
        for function in source.functions():
            if body_lines(function) > FUNCTION_LINES:
                long[f"{source.path}:{function.name}"] = body_lines(function)
    new = {name: lines for name, lines in long.items() if name not in LONG_FUNCTIONS}
    assert not new, f"longer than {FUNCTION_LINES} lines without their docstring: {new}"
    done = LONG_FUNCTIONS - set(long)
    assert not done, f"no longer exceptions, take them out of LONG_FUNCTIONS: {done}"


def test_files_are_short_and_the_exceptions_only_shrink() -> None:
    long = {s.path: n for s in SOURCES if (n := len(s.text.splitlines())) > FILE_LINES}
    new = {path: lines for path, lines in long.items() if path not in LONG_FILES}
    assert not new, f"longer than {FILE_LINES} lines: {new}"
    done = LONG_FILES - set(long)
    assert not done, f"no longer exceptions, take them out of LONG_FILES: {done}"


def test_the_core_stays_small() -> None:
    core = [source for source in SOURCES if source.path.startswith("core/")]
    files = [source.path for source in core if not source.path.endswith("__init__.py")]
    lines = sum(len(source.text.splitlines()) for source in core)
    assert len(files) <= CORE_FILES, f"{files}: at most {CORE_FILES} files"
    assert lines <= CORE_LINES, f"core has {lines} lines; {CORE_LINES} is the limit"


def families() -> list[Path]:
    return sorted(path.parent for path in PACKAGE.glob("models/*/__init__.py"))


@pytest.mark.parametrize("family", families(), ids=lambda path: path.name)
def test_every_family_has_the_same_five_files(family: Path) -> None:
    missing = [name for name in FAMILY_FILES if not (family / name).is_file()]
    assert not missing, f"reverie/models/{family.name} lacks {missing}"


def test_tests_mirror_the_package_path_for_path() -> None:
    missing = set()
    for source in SOURCES:
        path = Path(source.path)
        mirror = ROOT / "tests" / path.parent / f"test_{path.name}"
        if path.name not in {"__init__.py", "__main__.py"} and not mirror.is_file():
            missing.add(source.path)
    new = sorted(missing - UNMIRRORED)
    assert not new, f"without a test file of the same path under tests/: {new}"
    done = UNMIRRORED - missing
    assert not done, f"no longer exceptions, take them out of UNMIRRORED: {done}"


def test_every_room_is_a_package_with_its_question() -> None:
    silent = [
        source.path
        for source in SOURCES
        if source.path.endswith("__init__.py") and not ast.get_docstring(source.tree)
    ]
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    loose = sorted(str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").is_file())
    assert not silent, f"without a docstring that says what is in there: {silent}"
    assert not loose, f"without __init__.py, so that no import contract sees them: {loose}"


# -------------------------------------------------------------------------------------------------
# Import contracts


def contracts() -> list[dict[str, object]]:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    found: list[dict[str, object]] = tool["importlinter"]["contracts"]
    return found


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(
        command,
        cwd=root,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_import_contracts_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_room_is_left_out_of_the_contract_on_families() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    (contract,) = [c for c in contracts() if c.get("forbidden_modules") == ["reverie.models"]]
    sources = contract["source_modules"]
    assert isinstance(sources, list)
    named = {name.removeprefix("reverie.") for name in sources}
    assert named == rooms - {"cli", "models", "recipes"}


FAULTS = {
    "core/model.py": "import reverie.nn.mlp",
    "data/store.py": "import reverie.envs.env",
    "imagine/actor.py": "import reverie.models.one.model",
    "learn/fit.py": "def late():\n    import reverie.models.one.loss",
    "models/one/model.py": "import reverie.models.two.model",
    "plan/mpc.py": "def late():\n    import reverie.models.one.model",
    "viz/video.py": "import reverie.recipes.first",
}


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    """The rooms with empty files, under the contracts of the project."""
    files = [
        *("nn/mlp.py", "envs/env.py", "eval/score.py", "recipes/first.py", "physics/turn.py"),
        "serve/page.py",
        *("models/one/loss.py", "models/two/model.py", *FAULTS),
    ]
    for name in files:
        file = tmp_path / "reverie" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        for folder in file.relative_to(tmp_path).parents:
            if folder.name:
                (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    return tmp_path


def test_contracts_find_seeded_faults(skeleton: Path) -> None:
    clean = lint_imports(skeleton)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    for path, line in FAULTS.items():
        (skeleton / "reverie" / path).write_text(line)
    done = lint_imports(skeleton)
    assert done.returncode == 1
    for path, line in FAULTS.items():
        importer = f"reverie.{path.removesuffix('.py').replace('/', '.')}"
        assert f"{importer} -> {line.split()[-1]}" in done.stdout, done.stdout


def test_contracts_find_a_room_that_nobody_placed(skeleton: Path) -> None:
    (skeleton / "reverie" / "attic.py").touch()
    done = lint_imports(skeleton)
    assert done.returncode == 1
    assert "attic" in done.stdout, done.stdout


# -------------------------------------------------------------------------------------------------
# The rules bite

LONG = "def f():\n" + "    x = 1\n" * (FUNCTION_LINES + 1)
WIDE = "@dataclass(frozen=True)\nclass FitConfig:\n" + "".join(
    f"    x{n}: int = {n}\n" for n in range(CONFIG_FIELDS + 1)
)


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (long_functions, "learn/fit.py", LONG),
        (long_file, "learn/fit.py", "x = 1\n" * (FILE_LINES + 1)),
        (wide_configs, "learn/fit.py", WIDE),
        (wide_configs, "learn/fit.py", "class FitConfig:\n    x: int = 1\n"),
        (banned_module_name, "learn/fit_utils.py", ""),
        (banned_module_name, "common/fit.py", ""),
        (prints, "learn/fit.py", "print('step')"),
        (unpickling, "learn/fit.py", "torch.load(path)"),
        (unpickling, "learn/fit.py", "import pickle"),
        (unpickling, "data/store.py", "np.load(path, allow_pickle=True)"),
        (devices, "imagine/actor.py", "x.cuda()"),
        (devices, "nn/mlp.py", "x.to('cuda:0')"),
        (heavy_imports, "envs/dmc.py", "import mujoco"),
        (heavy_imports, "envs/dmc.py", "try:\n    from dm_control import suite\nexcept E:\n    x"),
        (heavy_imports, "learn/log.py", "from torch.utils.tensorboard import SummaryWriter"),
        (random_draws, "imagine/actor.py", "def act(self):\n    return torch.randn(3)"),
        (random_draws, "imagine/actor.py", "torch.randn(3, generator=self.generator)"),
        (random_draws, "models/one/model.py", "def noise(self, g):\n    return torch.randn(3)"),
        (random_draws, "eval/score.py", "np.random.normal()"),
        (random_draws, "data/replay.py", "torch.randint(9, (3,))"),
        (random_draws, "nn/mlp.py", "def forward(self, x):\n    return x.normal_()"),
        (global_seeds, "imagine/fit.py", "torch.manual_seed(0)"),
        (core_needs_only_torch, "core/model.py", "def f():\n    import numpy as np"),
        (named_families, "viz/video.py", "import_module('reverie.models.dreamer')"),
    ],
)
def test_seeded_faults_are_found(
    rule: Callable[[Source], Iterator[str]], path: str, text: str
) -> None:
    assert len(list(rule(Source(path, text)))) == 1


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (prints, "cli/runs.py", "print('done')"),
        (devices, "learn/device.py", "torch.device('cuda')"),
        (unpickling, "data/store.py", "np.load(path, allow_pickle=False)"),
        (heavy_imports, "envs/dmc.py", "def make():\n    import mujoco"),
        (heavy_imports, "envs/dmc.py", "if TYPE_CHECKING:\n    import mujoco"),
        (random_draws, "models/one/model.py", "def noise(g):\n    torch.randn(3, generator=g)"),
        (random_draws, "nn/mlp.py", "def fill_uniform(x):\n    x.uniform_()"),
        (random_draws, "data/replay.py", "torch.randint(9, (3,), generator=self.generator)"),
        (global_seeds, "recipes/first.py", "torch.manual_seed(0)"),
        (named_families, "recipes/first.py", "import reverie.models.dreamer"),
    ],
)
def test_allowed_lines_are_let_through(
    rule: Callable[[Source], Iterator[str]], path: str, text: str
) -> None:
    assert not list(rule(Source(path, text)))
