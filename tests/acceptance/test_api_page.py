"""The examples of docs/api.md: what is asked there is answered as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.servers import Server

if TYPE_CHECKING:
    from tests.conftest import Sample

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"
RECORDINGS = {"recording.mp3": "en_02", "recording.wav": "en_02", "japanese.wav": "ja_01"}


def answered_requests() -> list[tuple[str, str]]:
    """Each `curl` that an answer in JSON follows, and that answer; not those on a task of somebody's."""
    found = re.findall(r"```bash\n(curl [^\n]*)\n```\n\n```json\n([^\n]*)\n```", PAGE)
    return [(line, answer) for line, answer in found if "task_" not in line]


def ask(line: str, server: Server, samples: Mapping[str, Sample]) -> httpx.Response:
    """What ``curl`` would get."""
    *words, url = shlex.split(line.replace(ADDRESS, server.url))[1:]
    fields = dict(word.split("=", 1) for word in words if "=" in word)
    if not fields:
        return httpx.get(url)
    sample = samples[RECORDINGS[fields.pop("file").removeprefix("@")]]
    return httpx.post(url, files={"file": sample.path.read_bytes()}, data=fields, timeout=60)


@pytest.mark.parametrize(("line", "answer"), answered_requests(), ids=[line for line, _ in answered_requests()])
def test_answers(line: str, answer: str, server: Server, samples: Mapping[str, Sample]) -> None:
    given, shown = ask(line, server, samples).json(), json.loads(answer)
    assert shape(given) == shape(shown)
    assert [given.get(name) for name in ("text", "error")] == [shown.get(name) for name in ("text", "error")]


def shape(value: Any) -> Any:
    """Names and types, without values; of a list, those of its first entry."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    if isinstance(value, list):
        return shape(value[0]) if value else None
    return type(value)


def block(start: str) -> str:
    """The first block of code after the line that begins with ``start``."""
    found = re.search(
        rf"^{re.escape(start)}[^\n]*(?:\n[^\n`]*)?\n\n```\w*\n(.*?)```", PAGE, flags=re.MULTILINE | re.DOTALL
    )
    assert found, start
    return found[1]


@pytest.mark.parametrize(
    ("answer", "fields"),
    [
        ("json", {}),
        ("verbose_json", {"timestamp_granularities[]": ["segment", "word"]}),
        ("full_json", {"word_timestamps": "true"}),
        ("diarized_json", {"channels": "split"}),
    ],
)
def test_json_formats(answer: str, fields: dict[str, Any], server: Server, samples: Mapping[str, Sample]) -> None:
    given = transcribed(server, samples, response_format=answer, **fields).json()
    assert shape(given) == shape(json.loads(block(f"`{answer}`")))


@pytest.mark.parametrize("answer", ["text", "srt", "vtt", "tsv", "lrc", "ass"])
def test_text_formats(answer: str, server: Server, samples: Mapping[str, Sample]) -> None:
    given = transcribed(server, samples, response_format=answer).text
    assert timeless(given).endswith(timeless(block(f"`{answer}`")))


def timeless(text: str) -> str:
    """Times may differ by a little between processors."""
    return re.sub(r"\d+", "0", text)


def test_stream(server: Server, samples: Mapping[str, Sample]) -> None:
    given, shown = events(transcribed(server, samples, stream="true").text), events(block("The answer is `text/event"))
    assert given[0]["segment"].pop("tokens")
    assert [shape(event) for event in given] == [shape(event) for event in shown]
    assert [event.get("delta") for event in given] == [event.get("delta") for event in shown]


def events(stream: str) -> list[dict[str, Any]]:
    return [json.loads(data) for data in re.findall(r"^data: (\{.*)$", stream, flags=re.MULTILINE)]


def transcribed(server: Server, samples: Mapping[str, Sample], **fields: Any) -> httpx.Response:
    content = samples["en_02"].path.read_bytes()
    url = f"{server.url}/v1/audio/transcriptions"
    return httpx.post(url, files={"file": content}, data=fields, timeout=60).raise_for_status()


def run_program(number: int, server: Server, samples: Mapping[str, Sample], folder: Path) -> list[str]:
    """The lines that a program of the page prints."""
    (folder / "recording.mp3").write_bytes(samples["en_02"].path.read_bytes())
    program = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[number]
    command = [sys.executable, "-c", program.replace(ADDRESS, server.url)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def test_the_program(server: Server, samples: Mapping[str, Sample], tmp_path: Path) -> None:
    text, streamed, *words = run_program(0, server, samples, tmp_path)
    assert text == streamed == samples["en_02"].text
    assert [word.split(" ")[2] for word in words] == text.split(" ")


# Tasks -----------------------------------------------------------------------------------------------------------


def test_the_program_of_tasks(server: Server, samples: Mapping[str, Sample], tmp_path: Path) -> None:
    lines = run_program(1, server, samples, tmp_path)
    text = samples["en_02"].text
    states = [line for line in lines if re.fullmatch("[a-z]+", line)]
    assert states[0] in ("queued", "fetching", "running")
    assert states[-1] == "succeeded"
    assert f"0.0 {text}" in lines, "a segment while it runs"
    assert lines[-2] == text, "the subtitles"


@contextmanager
def a_task_that_runs(server: Server, recording: Path) -> Iterator[None]:
    """Cancelled at the end."""
    url, slow = f"{server.url}/api/tasks", {"mode": "sequential", "beam_size": "8"}
    running = httpx.post(url, files={"file": recording.read_bytes()}, data=slow).json()["id"]
    while httpx.get(f"{url}/{running}").json()["status"] == "queued":
        time.sleep(0.02)
    yield
    httpx.post(f"{url}/{running}/cancel").raise_for_status()


def test_a_task_as_the_page_shows_it(task_server: Server, samples: Mapping[str, Sample]) -> None:
    """On a server with one place, which somebody has: else the task might not wait any more when it is shown."""
    server = task_server
    files = {"file": ("recording.mp3", samples["en_02"].path.read_bytes())}
    with a_task_that_runs(server, samples["en_multi_80s"].path):
        task = httpx.post(f"{server.url}/api/tasks", files=files, data={"language": "en", "tags": "meetings"}).json()
    shown = json.loads(block("The answer is 201"))
    assert shape({name: task[name] for name in shown}) == shape(shown)
    assert {**shown, "id": task["id"]} == {name: task[name] for name in shown}
    told = [
        (name, json.loads(data))
        for name, data in re.findall(
            r"^event: (\w+)\ndata: (.*)$", httpx.get(f"{server.url}/api/tasks/{task['id']}/events").text, flags=re.M
        )
    ]
    example = re.findall(r"^event: (\w+)\ndata: (.*)$", block("`GET /api/tasks/{id}/events`"), flags=re.M)
    assert [name for name, _ in told if name != "status"] == [name for name, _ in example if name != "status"]
    for name, data in example:
        given = next(given for told_name, given in told if told_name == name)
        assert set(json.loads(data)) <= set(given)
    result = httpx.get(f"{server.url}/api/tasks/{task['id']}/result").json()
    assert shape(result) == shape(json.loads(block("`GET /api/tasks/{id}/result`")))
    assert result["text"] == samples["en_02"].text
