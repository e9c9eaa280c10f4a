"""Finals in another language while people speak: by Whisper itself, by a chat endpoint, read along elsewhere."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
from tests.acceptance.test_live_socket import END, read, say, socket, tell
from tests.chat_server import Asked, Reply, chat_server, fails, says
from tests.conftest import MINI
from tests.servers import Server, running_server

from kikitori.testing import Hold

HEARD = "The doctor goes to the bank on Friday."
GERMAN = "Der Arzt geht am Freitag zur Bank."


async def spoken(server: Server, name: str, **start: Any) -> list[dict[str, Any]]:
    """All that a round with one sample says."""
    messages: list[dict[str, Any]] = []
    async with asyncio.timeout(120), socket(server) as opened:
        await tell(opened, {"type": "start", "interim": False, **start})
        await say(opened, read(MINI / "samples" / f"{name}.wav"))
        await tell(opened, END)
        async for frame in opened:
            messages.append(json.loads(frame))
            if messages[-1]["type"] == "ended":
                break
    return messages


def of(messages: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [message for message in messages if message["type"] == kind]


async def read_along(server: Server, session: str) -> list[tuple[str, dict[str, Any]]]:
    """Events until the session is over."""
    events, name = [], ""
    async with httpx.AsyncClient(timeout=120) as client:
        async with client.stream("GET", f"{server.url}/stt/sessions/{session}/translations") as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    events.append((name, json.loads(line.removeprefix("data: "))))
    return events


async def test_whisper_and_the_chat_endpoint_translate(tmp_path: Any) -> None:
    def answer(asked: Asked) -> Reply:
        return says("Der Arzt geht ", "am Freitag zur Bank.") if "German" in asked.system else fails(401)

    async with chat_server() as chat:
        chat.answer = answer
        settings = {"llm_base_url": chat.url, "llm_model": "house"}
        with running_server(tmp_path / "data", "--model", str(MINI / "model"), **settings) as server:
            english = await spoken(server, "ja_01", lang="ja", translate_to="en")
            (final,) = of(english, "final")
            last = of(english, "translation")[-1]
            assert (last["done"], last["lang"], last["utterance"]) == (True, "en", final["utterance"])
            assert last["text"].isascii(), "Whisper wrote English"
            assert last["text"] != final["text"]
            assert chat.requests == []

            same = await spoken(server, "en_01", lang="en", translate_to="en-GB")
            assert of(same, "translation")[-1]["text"] == HEARD
            assert chat.requests == []

            german = await spoken(server, "en_01", lang="en", translate_to="de")
            told = of(german, "translation")
            assert (told[-1]["text"], told[-1]["done"]) == (GERMAN, True)
            assert all(GERMAN.startswith(each["text"]) for each in told)
            kinds = [message["type"] for message in german]
            assert kinds.index("translating") < kinds.index("final") < kinds.index("translation")
            assert kinds[-1] == "ended"
            assert HEARD in chat.requests[0].user

            broken = await spoken(server, "en_01", lang="en", translate_to="fr")
            assert [final["text"] for final in of(broken, "final")] == [HEARD]
            (failed,) = of(broken, "translation")
            assert (failed["done"], failed["failed"], failed["text"]) == (True, True, "")
            assert of(broken, "notice")[0]["code"] == "llm_unavailable"

            async with httpx.AsyncClient() as client:
                missing = await client.get(f"{server.url}/stt/sessions/live_none/translations")
                assert missing.status_code == 404


async def test_others_read_along_and_finals_do_not_wait(tmp_path: Any) -> None:
    hold = Hold()
    async with chat_server(says("Der Arzt ", hold, "geht am Freitag zur Bank.")) as chat:
        settings = {"llm_base_url": chat.url, "llm_model": "house"}
        with running_server(tmp_path / "data", "--model", str(MINI / "model"), **settings) as server:
            async with asyncio.timeout(120), socket(server) as opened:
                await tell(opened, {"type": "start", "lang": "en", "translate_to": "de"})
                messages: list[dict[str, Any]] = []
                speech = read(MINI / "samples" / "en_01.wav") + bytes(32_000)
                await say(opened, speech)
                async for frame in opened:
                    messages.append(json.loads(frame))
                    if messages[-1]["type"] == "translation":
                        break
                session = of(messages, "translating")[0]["session"]
                reading = asyncio.create_task(read_along(server, session))
                await say(opened, speech)
                async for frame in opened:
                    messages.append(json.loads(frame))
                    if len(of(messages, "final")) == 2:
                        break
                assert not [each for each in of(messages, "translation") if each["done"]], "it hangs still"
                hold.release.set()
                await tell(opened, END)
                async for frame in opened:
                    messages.append(json.loads(frame))
                    if messages[-1]["type"] == "ended":
                        break
            events = await reading
            done = [data for name, data in events if name == "translation" and data["done"]]
            assert [(each["text"], each["lang"]) for each in done] == [(GERMAN, "de")] * 2
            assert events[-1] == ("ended", {})
