"""Make a virtual environment that holds exactly the locked packages, and Kikitori itself.

    python3 tools/install.py .venv requirements/dev.txt

Runs before anything is installed, so it uses the standard library alone, and only syntax that
Python 3.8 reads too: an old Python shall say that it is too old.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
STAMP = ".installed"
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")


def main() -> None:
    if sys.version_info < OLDEST:
        fail(
            f"Kikitori needs Python 3.11 or newer; this is {sys.version.split()[0]}.",
            "Name a newer one: make PYTHON=python3.12 install",
        )
    venv, lock = Path(sys.argv[1]), Path(sys.argv[2])
    started = time.monotonic()
    python = make_environment(venv)
    install_locked(python, lock)
    install_project(python)
    (venv / STAMP).touch()
    say(f"Installed into {venv} in {time.monotonic() - started:.0f} s.")


def make_environment(venv: Path) -> Path:
    """The interpreter of ``venv``, which is made now unless it already works."""
    python = venv / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not works(python):
        say(f"Making {venv} with Python {sys.version.split()[0]} …")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)])
        if not works(python):
            fail(f"The environment {venv} could not be made.", "On Debian and Ubuntu: apt-get install python3-venv")
    return python


def works(python: Path) -> bool:
    """False also when the interpreter behind the environment is gone, or pip never came in."""
    try:
        return subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


def install_locked(python: Path, lock: Path) -> None:
    progress = Progress(len(re.findall(r"^\S+==", lock.read_text(), flags=re.MULTILINE)))
    say(f"Installing {progress.total} packages from {lock} …")
    output: list[str] = []
    with subprocess.Popen(
        [str(python), *PIP, "install", "--progress-bar", "off", "--require-hashes", "-r", str(lock)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as pip:
        for line in pip.stdout or ():
            output.append(line)
            progress.read(line)
    progress.clear()
    if pip.returncode:
        sys.stderr.writelines(output[-15:])
        fail("The packages could not be installed.", "Once the cause above is gone, `make install` goes on.")


def install_project(python: Path) -> None:
    command = [str(python), *PIP, "install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    if subprocess.run(command).returncode:
        fail("Kikitori itself could not be installed.", "Once the cause above is gone, `make install` goes on.")


class Progress:
    """One line that follows pip, on a terminal only."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.shown = sys.stdout.isatty()

    def read(self, line: str) -> None:
        if match := re.match(r"(?:Collecting|Requirement already satisfied:) ([\w.-]+)", line):
            self.done += 1
            self.show(f"[{self.done}/{self.total}] {match[1]}")
        elif line.startswith("Ignoring "):  # not for this machine
            self.total -= 1
        elif line.startswith("Installing collected packages"):
            self.show("unpacking …")

    def show(self, text: str) -> None:
        if self.shown:
            sys.stdout.write(f"\r\033[K  {text}")
            sys.stdout.flush()

    def clear(self) -> None:
        if self.shown:
            sys.stdout.write("\r\033[K")


def say(text: str) -> None:
    print(text, flush=True)


def fail(what: str, remedy: str) -> None:
    sys.exit(f"{what}\n{remedy}")


if __name__ == "__main__":
    main()
