"""Conversations with functions, against a real HTTP server."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from tests.chat_server import FakeChatServer, fails, says, streams

from kikitori.errors import Busy, ChatFailed
from kikitori.llm.client import ChatModels
from kikitori.llm.talking import Called, Ended, Said, TalkPiece, TalkRequest, TokenUsage, asked_of_sdk
from kikitori.testing import Hold

REQUEST = TalkRequest(messages=[{"role": "user", "content": "Hello?"}])
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


async def talk(models: ChatModels, request: TalkRequest = REQUEST) -> list[TalkPiece]:
    async with models.open() as model, aclosing(model.talk(request)) as pieces:
        return [piece async for piece in pieces]


def call(index: int, **function: Any) -> dict[str, Any]:
    id = function.pop("id", None)
    return {"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}


async def test_text_calls_and_usage_come_as_they_are_written(server: FakeChatServer, models: ChatModels) -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 8},
    }
    server.script = [
        streams(
            {"role": "assistant", "content": "One moment."},
            call(0, id="call_1", name="weather", arguments=""),
            call(0, arguments='{"town"'),
            call(0, arguments=': "Rome"}'),
            finish="tool_calls",
            usage=usage,
        )
    ]
    request = TalkRequest(
        messages=REQUEST.messages, tools=[TOOL], tool_choice="required", max_tokens=99, temperature=0.5
    )
    assert await talk(models, request) == [
        Said(text="One moment."),
        Called(index=0, id="call_1", name="weather"),
        Called(index=0, arguments='{"town"'),
        Called(index=0, arguments=': "Rome"}'),
        Ended(reason="tool_calls", usage=TokenUsage(input_tokens=9, output_tokens=4, cached_tokens=8)),
    ]
    body = server.requests[0].body
    assert (body["tools"], body["tool_choice"], body["max_tokens"], body["temperature"]) == (
        [TOOL],
        "required",
        99,
        0.5,
    )
    assert body["stream_options"] == {"include_usage": True}


async def test_what_is_not_wanted_is_not_sent(server: FakeChatServer, models: ChatModels) -> None:
    server.script = [says("Hello.")]
    assert await talk(models) == [Said(text="Hello."), Ended(reason="stop")]
    assert server.requests[0].body.keys() == {"model", "messages", "stream", "stream_options"}


def test_openai_itself_has_another_name_for_the_limit() -> None:
    request = TalkRequest(messages=(), max_tokens=5)
    assert asked_of_sdk(request, new_limit=True)["max_completion_tokens"] == 5
    assert "max_tokens" not in asked_of_sdk(request, new_limit=True)


def test_wishes_of_some_models_are_sent_to_those_that_get_them() -> None:
    request = TalkRequest(messages=(), tools=(TOOL,), parallel_tool_calls=False, effort="low")
    asked = asked_of_sdk(request, new_limit=False)
    assert (asked["parallel_tool_calls"], asked["reasoning_effort"]) == (False, "low")
    without_tools = TalkRequest(messages=(), parallel_tool_calls=False)
    assert "parallel_tool_calls" not in asked_of_sdk(without_tools, new_limit=False)


async def test_closing_ends_the_request(server: FakeChatServer, models: ChatModels) -> None:
    server.script = [says("Hel", Hold())]
    async with models.open() as model:
        async with aclosing(model.talk(REQUEST)) as pieces:
            assert await anext(pieces) == Said(text="Hel")
        async with asyncio.timeout(60):
            await server.requests[0].gone.wait()


async def test_an_answer_that_breaks_off_is_an_error(server: FakeChatServer, models: ChatModels) -> None:
    server.script = [says("Hel", finish=None)]
    with pytest.raises(ChatFailed, match="broke off"):
        await talk(models)


async def test_errors_are_told_as_everywhere(server: FakeChatServer, models: ChatModels) -> None:
    server.script = [fails(429, retry_after="0")]
    with pytest.raises(Busy):
        await talk(models)


async def test_without_an_endpoint_it_says_what_to_set() -> None:
    models = ChatModels(guarded=lambda: pytest.fail("not needed"))
    assert not models.configured
    with pytest.raises(ChatFailed, match="KIKITORI_LLM_BASE_URL"):
        await talk(models)
