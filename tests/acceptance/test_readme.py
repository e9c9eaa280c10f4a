"""What the README shows works as it is written, with this server's address and a recording under the names it uses."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.servers import Server

if TYPE_CHECKING:
    from tests.conftest import Sample

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"
TASK = "task_01…"
"""What stands for the id of a task."""


def lines(start: str) -> list[str]:
    """The lines of the README's examples that begin with ``start``, without their comments."""
    blocks = "".join(re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL))
    return [line.partition("  #")[0].strip() for line in blocks.splitlines() if line.startswith(start)]


@pytest.fixture
def folder(tmp_path: Path, samples: Mapping[str, Sample]) -> Path:
    """A working folder with the recordings of the examples."""
    (tmp_path / "talks").mkdir()
    for name in ("recording.mp3", "call.wav", "talks/one.wav"):
        shutil.copy(samples["en_01"].path, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("line", [line for line in lines("curl") if "/v1/" in line])
def test_curl(line: str, server: Server, folder: Path, samples: Mapping[str, Sample]) -> None:
    _, *arguments, url = shlex.split(line.replace(ADDRESS, server.url))
    fields = dict(argument.split("=", 1) for argument in arguments if argument != "-F")
    with (folder / fields.pop("file").removeprefix("@")).open("rb") as file:
        answer = httpx.post(url, files={"file": file}, data=fields, timeout=60)
    assert answer.status_code == 200
    assert samples["en_01"].text in answer.text


@pytest.mark.parametrize("program", re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL))
def test_python(program: str, server: Server, folder: Path, samples: Mapping[str, Sample]) -> None:
    done = run([sys.executable, "-c", program.replace(ADDRESS, server.url)], folder)
    assert done.stdout.strip() == samples["en_01"].text


def test_curl_of_tasks(server: Server, folder: Path, samples: Mapping[str, Sample]) -> None:
    make, *reads = [line for line in lines("curl") if "/api/tasks" in line and "example.org" not in line]
    assert make == f"curl -F file=@recording.mp3 {ADDRESS}/api/tasks"
    with (folder / "recording.mp3").open("rb") as file:
        task = httpx.post(f"{server.url}/api/tasks", files={"file": file}).json()["id"]
    answers = []
    for line in reads:
        url = shlex.split(line)[-1].replace(ADDRESS, server.url).replace(TASK, task)
        answers.append(httpx.get(url, timeout=60))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert all(samples["en_01"].text in answer.text for answer in answers)


def test_commands_of_tasks(server: Server, folder: Path, samples: Mapping[str, Sample]) -> None:
    task = ""
    for line in lines("kikitori tasks"):
        _, *arguments = shlex.split(line.replace(TASK, task))
        done = run([sys.executable, "-m", "kikitori", *arguments], folder, KIKITORI_URL=server.url)
        task = task or done.stdout.strip()
    assert samples["en_01"].text in (folder / "subtitles" / "one.srt").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", lines("kikitori transcribe"))
def test_transcribe(line: str, server: Server, folder: Path, mini_model: Path, samples: Mapping[str, Sample]) -> None:
    _, *arguments = shlex.split(line.replace(ADDRESS, server.url))
    done = run([sys.executable, "-m", "kikitori", *arguments], folder, KIKITORI_MODEL=str(mini_model))
    written = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("one.*t"))
    assert samples["en_01"].text in done.stdout + written


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"KIKITORI_DATA_DIR": str(folder / "data")} | variables
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=120)
