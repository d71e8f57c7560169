"""The command that opens a model to a person."""

from __future__ import annotations

from reverie.cli.terminal import parse, wrong


def play(arguments: list[str]) -> int:
    """Serve the page of a run until interrupted."""
    from reverie.recipes.playing import Playing, play

    target = arguments[0] if arguments else ""
    if not target or (target.startswith("-") and target not in ("-h", "--help")):
        return wrong(
            "play needs the directory of a run, or an environment: reverie play RUN [options]."
        )
    rest = arguments if target.startswith("-") else arguments[1:]
    playing = parse(Playing, "play RUN", rest)
    try:
        play(target, playing, _told)
    except KeyboardInterrupt:
        print()
    return 0


def _told(address: str) -> None:
    print(f"Play at {address}\nCtrl-C ends it.", flush=True)
