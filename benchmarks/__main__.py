"""``python -m benchmarks [PART …]``; all of them by default."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks import accuracy, crowd, footprint, live, overhead, store, tasks, throughput, translation, voice
from benchmarks.report import Table, show, write
from benchmarks.setup import MINI, Setup

PARTS: dict[str, Callable[[Setup], list[Table]]] = {
    "overhead": lambda setup: [overhead.measure(setup)],
    "throughput": throughput.measure,
    "footprint": footprint.measure,
    "tasks": tasks.measure,
    "store": store.measure,
    "live": live.measure,
    "accuracy": accuracy.measure,
    "crowd": crowd.measure,
    "voice": voice.measure,
    "translation": translation.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument("--model", default=str(MINI), help="folder of a CTranslate2 Whisper model")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-once", type=int, nargs="+", help="files at once (8; on a GPU 16 and 64)")
    parser.add_argument("--no-write", action="store_true", help="leave docs/benchmarks.md alone")
    asked = parser.parse_args()
    at_once = tuple(asked.at_once or ((8,) if asked.device == "cpu" else (16, 64)))
    setup = Setup(model=asked.model, device=asked.device, rounds=asked.rounds, at_once=at_once)
    for part in asked.parts or PARTS:
        for table in PARTS[part](setup):
            show(table)
            if not asked.no_write:
                write(table)


if __name__ == "__main__":
    main()
