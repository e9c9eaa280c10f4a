from __future__ import annotations

import asyncio
import logging
import traceback
from contextlib import aclosing

import pytest
from tests.chat_server import FakeChatServer, Reply, fails, says

from kikitori.errors import Busy, ChatFailed, ChatRefused, ForbiddenAddress, InvalidInput, KikitoriError
from kikitori.llm import client
from kikitori.llm.client import CUT, ChatModels, Message, Role, complete
from kikitori.testing import Hold

from .conftest import KEY, guarded

MESSAGES = [Message(role=Role.SYSTEM, content="Be brief."), Message(role=Role.USER, content="Hello?")]
THEIR_KEY = "sk-caller-abcdefghij"


async def ask(models: ChatModels, **brought: str) -> str:
    async with models.open(**brought) as model:
        return await complete(model, MESSAGES)


async def failure(models: ChatModels, **brought: str) -> KikitoriError:
    with pytest.raises(KikitoriError) as caught:
        await ask(models, **brought)
    return caught.value


# What is asked


async def test_an_answer_comes_in_pieces(server: FakeChatServer, models: ChatModels) -> None:
    server.script = [says("Hel", "lo", "!")]
    async with models.open() as model, aclosing(model.stream(MESSAGES)) as pieces:
        assert [piece async for piece in pieces] == ["Hel", "lo", "!"]
    (asked,) = server.requests
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body["model"] == "house"
    assert asked.body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello?"},
    ]


async def test_an_endpoint_learns_nothing_about_this_machine_or_its_operator(
    server: FakeChatServer, models: ChatModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "operators-secret")
    server.script = [says("Hello.")]
    await ask(models, base_url=server.url, model="theirs")
    (asked,) = server.requests
    assert asked.headers.keys() <= {*client.SENT_HEADERS, "user-agent"}
    assert "authorization" not in asked.headers
    assert asked.headers["user-agent"] == "kikitori"
    assert "operators-secret" not in str(asked.headers)


async def test_a_callers_endpoint_gets_the_callers_key_and_never_the_servers(
    server: FakeChatServer, models: ChatModels
) -> None:
    server.script = [says("Hello.")]
    await ask(models, base_url=server.url, model="theirs", api_key=THEIR_KEY)
    await ask(models, base_url=server.url, model="theirs")
    first, second = server.requests
    assert first.headers["authorization"] == f"Bearer {THEIR_KEY}"
    assert first.body["model"] == "theirs"
    assert KEY not in str(second.headers)


async def test_a_caller_may_bring_only_a_key_or_only_a_model(server: FakeChatServer, models: ChatModels) -> None:
    server.script = [says("Hello.")]
    await ask(models, api_key=THEIR_KEY)
    await ask(models, model="other")
    first, second = server.requests
    assert (first.headers["authorization"], first.body["model"]) == (f"Bearer {THEIR_KEY}", "house")
    assert (second.headers["authorization"], second.body["model"]) == (f"Bearer {KEY}", "other")


# Endpoints that are not there, or not allowed


@pytest.mark.parametrize(
    ("base_url", "model", "missing"),
    [
        ("", "", "KIKITORI_LLM_BASE_URL and KIKITORI_LLM_MODEL"),
        ("", "house", "sets KIKITORI_LLM_BASE_URL;"),
        ("http://127.0.0.1:9/v1", "", "sets KIKITORI_LLM_MODEL;"),
    ],
)
async def test_no_model_set_up_names_the_settings(base_url: str, model: str, missing: str) -> None:
    error = await failure(ChatModels(guarded=guarded, base_url=base_url, model=model))
    assert isinstance(error, ChatFailed)
    assert missing in str(error)


async def test_a_callers_endpoint_needs_a_model_by_name(models: ChatModels) -> None:
    error = await failure(models, base_url="https://llm.example/v1")
    assert isinstance(error, InvalidInput) and error.param == "model"


async def test_a_callers_endpoint_passes_the_guard_and_the_operators_need_not(server: FakeChatServer) -> None:
    server.script = [says("Hello.")]
    models = ChatModels(guarded=guarded, base_url=server.url, model="house")
    assert await ask(models) == "Hello."
    error = await failure(models, base_url=server.url, model="theirs")
    assert isinstance(error, ForbiddenAddress) and error.param == "base_url"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "base_url",
    [
        "llm.example/v1",
        "ftp://llm.example/v1",
        "https:///v1",
        "https://llm.example:99999/v1",
        "https://[llm/v1",
        "https://l l m/v1",
        "https://llm\n.example/v1",
        f"https://me:{THEIR_KEY}@llm.example/v1",
        f"https://llm.example/v1?key={THEIR_KEY}",
        f"https://llm.example/v1#{THEIR_KEY}",
    ],
)
async def test_an_address_that_is_none_is_not_repeated(models: ChatModels, base_url: str) -> None:
    error = await failure(models, base_url=base_url, model="theirs")
    assert isinstance(error, InvalidInput) and error.param == "base_url"
    assert THEIR_KEY not in error.public


@pytest.mark.parametrize("api_key", ["sk-\n1", "sk-ключ"])
async def test_a_key_that_is_none_is_not_repeated(models: ChatModels, api_key: str) -> None:
    error = await failure(models, api_key=api_key)
    assert isinstance(error, InvalidInput) and error.param == "api_key"
    assert api_key not in error.public


@pytest.mark.parametrize("base_url", ["localhost:11434/v1", "http://l l m/v1", "http://[llm/v1", "ftp://llm/v1"])
async def test_an_address_in_the_settings_that_is_none(base_url: str) -> None:
    error = await failure(ChatModels(guarded=guarded, base_url=base_url, model="house"))
    assert isinstance(error, ChatFailed) and "KIKITORI_LLM_BASE_URL" in str(error)


async def test_nobody_listens() -> None:
    error = await failure(ChatModels(guarded=guarded, base_url="http://127.0.0.1:9/v1", model="house"))
    assert isinstance(error, ChatFailed)
    assert "cannot be reached" in str(error) and "KIKITORI_LLM_BASE_URL" in str(error)


# Faults


async def test_what_may_pass_is_tried_again(server: FakeChatServer, models: ChatModels) -> None:
    server.script = [fails(500), fails(503), says("At last.")]
    assert await ask(models) == "At last."
    assert len(server.requests) == 3


async def test_tries_are_bounded(server: FakeChatServer, models: ChatModels) -> None:
    server.script = [fails(500, "out of memory")]
    error = await failure(models)
    assert isinstance(error, ChatFailed) and "out of memory" in error.public
    assert len(server.requests) == 1 + client.RETRIES


async def test_a_wait_that_the_endpoint_asks_for_is_kept(server: FakeChatServer, models: ChatModels) -> None:
    server.script = [fails(429, retry_after="1"), says("Now.")]
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await ask(models) == "Now."
    assert loop.time() - began >= 1.0


async def test_an_endpoint_with_too_much_to_do_says_when_to_come_back(
    server: FakeChatServer, models: ChatModels
) -> None:
    server.script = [fails(429, x_should_retry="false", retry_after="77")]
    error = await failure(models)
    assert isinstance(error, Busy) and error.retry_after == 77.0
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "param", "setting"),
    [
        (fails(401, f"Incorrect API key: {THEIR_KEY}"), "api_key", "KIKITORI_LLM_API_KEY"),
        (fails(403), "api_key", "KIKITORI_LLM_API_KEY"),
        (fails(429, code="insufficient_quota", x_should_retry="false"), "api_key", "KIKITORI_LLM_API_KEY"),
        (fails(400, "maximum context length is 4096"), "model", "KIKITORI_LLM_MODEL"),
        (fails(404, "no such model"), "base_url", "KIKITORI_LLM_MODEL"),
        (fails(307, location="http://127.0.0.1:9/"), "base_url", "KIKITORI_LLM_BASE_URL"),
        (Reply(steps=(b"data: {broken\n\n",)), "base_url", "KIKITORI_LLM_BASE_URL"),
        (Reply(steps=(b'data: {"choices": 7}\n\n',)), "base_url", "KIKITORI_LLM_BASE_URL"),
        (Reply(steps=(b'data: ["surprise"]\n\n',)), "base_url", "KIKITORI_LLM_BASE_URL"),
        (Reply(steps=(b"<html>Welcome</html>",)), "base_url", "KIKITORI_LLM_BASE_URL"),
    ],
)
async def test_a_fault_is_told_to_whom_can_mend_it(
    server: FakeChatServer, models: ChatModels, reply: Reply, param: str, setting: str
) -> None:
    server.script = [reply]
    theirs = await failure(models, base_url=server.url, model="theirs", api_key=THEIR_KEY)
    assert isinstance(theirs, ChatRefused) and theirs.param == param
    ours = await failure(models)
    assert isinstance(ours, ChatFailed) and setting in str(ours)


async def test_a_model_that_is_not_there_is_named(server: FakeChatServer, models: ChatModels) -> None:
    server.script = [fails(404, "model 'nope' not found, try pulling it first")]
    error = await failure(models, model="nope")
    assert isinstance(error, ChatRefused) and error.param == "model"
    assert "'nope'" in str(error) and "pulling" in error.public


@pytest.mark.parametrize("pieces", [[], ["Half an ans"]])
async def test_an_answer_that_breaks_off(server: FakeChatServer, models: ChatModels, pieces: list[str]) -> None:
    server.script = [says(*pieces, finish=None)]
    assert isinstance(await failure(models), ChatFailed)


async def test_an_error_in_the_middle_of_an_answer(server: FakeChatServer, models: ChatModels) -> None:
    begun = says("Half", finish=None).steps
    server.script = [Reply(steps=(*begun, b'data: {"error": {"message": "GPU lost", "code": 500}}\n\n'))]
    error = await failure(models)
    assert isinstance(error, ChatFailed) and "GPU lost" in error.public


async def test_an_endpoint_that_falls_silent(server: FakeChatServer) -> None:
    server.script = [says("Half", Hold())]
    error = await failure(ChatModels(guarded=guarded, base_url=server.url, model="house", silence_seconds=0.2))
    assert isinstance(error, ChatFailed) and "in time" in str(error)


async def test_a_withheld_answer(server: FakeChatServer, models: ChatModels) -> None:
    server.script = [says(finish="content_filter")]
    assert "content filter" in str(await failure(models))


async def test_an_answer_that_reached_the_limit_says_so(server: FakeChatServer, models: ChatModels) -> None:
    server.script = [says("As I was say", finish="length")]
    assert await ask(models) == f"As I was say{CUT}"


async def test_an_answer_without_end_is_stopped(
    server: FakeChatServer, models: ChatModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LONGEST_ANSWER", 10)
    server.script = [says(*["and on "] * 10, Hold())]
    assert (await ask(models)).endswith(CUT)
    await server.requests[0].gone.wait()


async def test_text_that_nobody_could_store_is_mended(server: FakeChatServer, models: ChatModels) -> None:
    server.script = [says("a\0b\ud800c")]
    assert await ask(models) == "ab?c"


# Leaving


async def test_closing_an_answer_closes_the_connection(server: FakeChatServer, models: ChatModels) -> None:
    server.script = [says("Well", Hold())]
    async with models.open() as model:
        async with aclosing(model.stream(MESSAGES)) as pieces:
            assert await anext(pieces) == "Well"
        async with asyncio.timeout(60):
            await server.requests[0].gone.wait()


@pytest.mark.parametrize("begun", [True, False], ids=["in an answer", "before an answer"])
async def test_cancelling_closes_the_connection(server: FakeChatServer, models: ChatModels, begun: bool) -> None:
    hold = Hold()
    server.script = [says("Well", hold)] if begun else [Reply(steps=(hold,))]
    asking = asyncio.create_task(ask(models))
    await hold.reached.wait()
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    async with asyncio.timeout(60):
        await server.requests[0].gone.wait()


# Secrets


@pytest.mark.parametrize(
    "reply",
    [
        fails(401, f"Incorrect API key provided: {THEIR_KEY}"),
        fails(400, f"What is {THEIR_KEY}?"),
        fails(404, f"No model for {THEIR_KEY}"),
        fails(500, f"Crashed on {THEIR_KEY}", x_should_retry="false"),
        Reply(steps=(f'data: {{"error": {{"message": "Bad {THEIR_KEY}"}}}}\n\n'.encode(),)),
        Reply(steps=(f"data: {THEIR_KEY}\n\n".encode(),)),
    ],
)
async def test_a_callers_key_is_in_no_error_and_no_log(
    server: FakeChatServer, models: ChatModels, reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.script = [reply]
    error = await failure(models, base_url=server.url, model="theirs", api_key=THEIR_KEY)
    assert server.requests[0].headers["authorization"] == f"Bearer {THEIR_KEY}"
    told = [str(error), repr(error), error.public, *traceback.format_exception(error)]
    logged = [str(vars(record)) for record in caplog.records]
    assert [text for text in told + logged if THEIR_KEY in text] == []


async def test_what_an_endpoint_says_is_for_the_caller_and_not_for_the_log(
    server: FakeChatServer, models: ChatModels
) -> None:
    server.script = [fails(400, "I cannot take: Hello?")]
    for brought in ({}, {"model": "theirs"}):
        error = await failure(models, **brought)
        assert "Hello?" in error.public
        assert "Hello?" not in str(error)


def test_a_key_is_not_shown_with_its_endpoint() -> None:
    endpoint = client.Endpoint(base_url="https://llm.example/v1", model="theirs", api_key=THEIR_KEY)
    assert THEIR_KEY not in repr(endpoint)
