"""A real server, a real task, and a real chat endpoint beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from tests.chat_server import Asked, Reply, chat_server, says
from tests.servers import running_server

if TYPE_CHECKING:
    from tests.conftest import Sample

THEIR_KEY = "sk-caller-abcdefghij"


def answer(asked: Asked) -> Reply:
    """Lines are translated; anything else is about the first mark."""
    if lines := re.findall(r"^\[(\d+)\] (.*)$", asked.user, re.MULTILINE):
        return says("\n".join(f"[{number}] auf Deutsch: {text}" for number, text in lines))
    return says("It is about ", "Quicksilver ", *re.findall(r"\[\d+:\d\d\]", asked.user)[:1])


async def test_a_task_is_summarised_discussed_and_translated(
    tmp_path: Path, mini_model: Path, samples: Mapping[str, Sample]
) -> None:
    sample = samples["en_01"]
    async with chat_server() as chat:
        chat.answer = answer
        settings = {"llm_base_url": chat.url, "llm_model": "house", "allowed_addresses": "127.0.0.0/8"}
        settings |= {"log_level": "debug", "log_format": "json", "model": str(mini_model)}
        with running_server(tmp_path / "data", **settings) as server:
            async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
                file = {"file": ("a.wav", sample.path.read_bytes())}
                task = (await client.post("/api/tasks", files=file)).json()["id"]
                await client.get(f"/api/tasks/{task}/events")  # until it has ended

                summary = (await client.post(f"/api/tasks/{task}/summary")).json()
                assert summary["text"] == "It is about Quicksilver [0:00]"
                assert sample.text in chat.requests[0].user

                question = {"question": "Whose Zebedee?", "stream": True}
                stream = (await client.post(f"/api/tasks/{task}/chat", json=question)).text
                assert stream.index("answer.delta") < stream.index("answer.done") < stream.index("[DONE]")

                theirs = {"base_url": chat.url, "model": "theirs", "api_key": THEIR_KEY}
                body = {"output_language": "de", **theirs}
                translation = (await client.post(f"/api/tasks/{task}/translate", json=body)).json()
                assert chat.requests[-1].headers["authorization"] == f"Bearer {THEIR_KEY}"
                heard = (await client.get(f"/api/tasks/{task}/result")).json()["segments"]
                assert [(each["start"], each["end"], each["text"]) for each in translation["segments"]] == [
                    (each["start"], each["end"], f" auf Deutsch:{each['text']}") for each in heard
                ]

                answers = (await client.get(f"/api/tasks/{task}/answers")).json()["answers"]
                assert [each["kind"] for each in answers] == ["summary", "chat", "translation"]
                await client.delete(f"/api/tasks/{task}")
                assert (await client.get(f"/api/tasks/{task}/answers")).status_code == 404
            log = server.log.read_text()
    assert THEIR_KEY not in log
    lines = [line for line in log.splitlines() if line.startswith("{")]
    told = "".join(line for line in lines if json.loads(line)["level"] != "debug")
    assert '"answered"' in told
    assert [secret for secret in ("Quicksilver", "Zebedee", "Deutsch", sample.text) if secret in told] == []
    for path in server.data_dir.rglob("*"):
        assert not path.is_file() or THEIR_KEY.encode() not in path.read_bytes()
