"""What `pip install reverie` downloads beyond torch, package by package.

The packages are those that pip would choose for the base install, less those that
`pip install torch` brings already; each is downloaded without its requirements and weighed.

    python bench/install_size.py
    python bench/install_size.py --extra demo
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIMIT_MB = 60.0
AIM_MB = 30.0


def pip(*arguments: str) -> None:
    """Run pip quietly; its own message is shown where it fails."""
    subprocess.run([sys.executable, "-m", "pip", "-qq", *arguments], check=True)


def resolve(requirements: list[str], folder: Path) -> dict[str, str]:
    """Name and version of all that pip would install in an empty environment."""
    report = folder / "report.json"
    flags = ("--dry-run", "--ignore-installed", "--report", str(report))
    pip("install", *flags, *requirements)
    chosen = (item["metadata"] for item in json.loads(report.read_text())["install"])
    return {meta["name"]: meta["version"] for meta in chosen}


def requirements(extra: str | None) -> list[str]:
    """The requirements in pyproject.toml, with those of one extra and the extras it names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = list(project["dependencies"])
    pending = [extra] if extra else []
    while pending:
        for line in project["optional-dependencies"][pending.pop()]:
            if line.startswith("reverie["):
                pending += line.removeprefix("reverie[").removesuffix("]").split(",")
            else:
                found.append(line)
    return found


def weigh(packages: dict[str, str], folder: Path) -> dict[str, float]:
    """Size of each package's download [MB]."""
    sizes = {}
    for name, version in packages.items():
        target = folder / name
        pip("download", "--no-deps", "--dest", str(target), f"{name}=={version}")
        sizes[name] = sum(file.stat().st_size for file in target.iterdir()) / 1e6
    return sizes


def main() -> int:
    """Print the table; the exit status is 1 where the base install is over the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extra", help="weigh this extra too, for example demo")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    parser.add_argument("--torch", default="torch==2.13.0", help="the torch to leave out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = resolve([options.torch], folder)
        whole = resolve([options.torch, *requirements(options.extra)], folder)
        packages = {k: v for k, v in whole.items() if k not in base}
        sizes = weigh(packages, folder)
    what = "base install" if options.extra is None else f"base install and extra {options.extra}"
    print(f"{what} beyond {options.torch}, downloaded")
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}\n")
    for package, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"  {package:<24}{packages[package]:<14}{size:8.2f} MB")
    total = sum(sizes.values())
    print(f"\n  {'total':<38}{total:8.2f} MB")
    if options.json is not None:
        commit = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
        head = subprocess.run(commit, capture_output=True, text=True, check=False).stdout.strip()
        facts = {
            "what": what,
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "commit": head,
            "versions": packages,
            "megabytes": sizes,
            "total": total,
        }
        options.json.write_text(json.dumps(facts, indent=2) + "\n")
    if options.extra is not None:
        return 0
    print(f"  needed: under {LIMIT_MB:.0f} MB; aim: {AIM_MB:.0f} MB")
    return int(total > LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main())
