"""The client goes away: everything it held is free again."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from starlette.types import ASGIApp, Message

from kikitori.services.parts import Services
from kikitori.testing import FakeTranscriber, Hold, fake_transcript, script_of
from kikitori.web.app import create_app
from kikitori.web.disconnect import ClientGone, while_connected

from .forms import CONTENT_TYPE, field, file, form

MakeServices = Callable[..., Services]
SCRIPT = script_of(fake_transcript(" a", " b"))


class Connection:
    """One request at the ASGI level; its client leaves when the test says so, or when its body breaks off."""

    def __init__(
        self, services: Services, *pieces: bytes, breaks_off: bool = False, app: ASGIApp | None = None
    ) -> None:
        self.left = asyncio.Event()
        self.sent: list[Message] = []
        self.app = app or create_app(services)
        self._messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        self._messages[-1]["more_body"] = breaks_off
        if breaks_off:
            self.left.set()

    async def run(self) -> None:
        path = "/v1/audio/transcriptions"
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"content-type", CONTENT_TYPE.encode())],
            "client": ("127.0.0.1", 1),
            "server": ("test", 80),
        }
        await self.app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if self._messages:
            return self._messages.pop(0)
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)


def fake_of(services: Services) -> FakeTranscriber:
    assert isinstance(services.transcriber, FakeTranscriber)
    return services.transcriber


def metrics_of(services: Services) -> str:
    return services.metrics.render()[0].decode()


def leftovers(services: Services) -> Sequence[object]:
    folder = services.settings.data_dir / "tmp"
    return [*folder.iterdir()] if folder.exists() else []


@pytest.mark.parametrize("at", [0, 2, 3], ids=["before anything", "after the start", "after a segment"])
async def test_leaving_while_it_decodes(make_services: MakeServices, at: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    hold = Hold()
    services = make_services(*SCRIPT[:at], hold, *SCRIPT[at:], key_concurrency=1)
    connection = Connection(services, form(file()))
    request = asyncio.create_task(connection.run())
    await hold.reached.wait()
    assert leftovers(services)
    connection.left.set()
    await request
    (call,) = fake_of(services).calls
    assert call.closed.is_set() and not call.finished
    assert leftovers(services) == []
    assert connection.sent == []
    (record,) = [vars(record) for record in caplog.records if vars(record).get("action") == "client_gone"]
    assert record["status"] == 499
    assert 'kikitori_requests_total{route="/v1/audio/transcriptions",status="499"} 1.0' in metrics_of(services)
    assert "kikitori_requests_running 0.0" in metrics_of(services)


async def test_leaving_a_stream(make_services: MakeServices) -> None:
    hold = Hold()
    services = make_services(*SCRIPT[:3], hold, *SCRIPT[3:], key_concurrency=1)
    connection = Connection(services, form(file(), field("stream", "true")))
    request = asyncio.create_task(connection.run())
    await hold.reached.wait()
    connection.left.set()
    await request
    (call,) = fake_of(services).calls
    assert call.closed.is_set() and not call.finished
    assert leftovers(services) == []
    assert b"transcript.text.delta" in connection.sent[1]["body"]
    assert not connection.sent[-1]["body"].startswith(b"data: [DONE]")


async def test_the_place_is_free_again(make_services: MakeServices) -> None:
    hold = Hold()
    services = make_services(hold, *SCRIPT, key_concurrency=1)
    connection = Connection(services, form(file()))
    request = asyncio.create_task(connection.run())
    await hold.reached.wait()
    connection.left.set()
    await request
    hold.release.set()
    second = Connection(services, form(file()), app=connection.app)
    await second.run()
    assert second.sent[0]["status"] == 200


@pytest.mark.parametrize("whole", [0, 20, 110, 150])
async def test_leaving_during_the_upload(make_services: MakeServices, whole: int) -> None:
    services = make_services()
    connection = Connection(services, form(file(b"x" * 100))[:whole], breaks_off=True)
    await connection.run()
    assert connection.sent == []
    assert fake_of(services).calls == []
    assert leftovers(services) == []


async def test_cancelling_the_request_frees_everything(make_services: MakeServices) -> None:
    hold = Hold()
    services = make_services(hold)
    connection = Connection(services, form(file()))
    request = asyncio.create_task(connection.run())
    await hold.reached.wait()
    request.cancel()
    await asyncio.wait([request])
    assert request.cancelled()
    assert fake_of(services).calls[0].closed.is_set()
    assert leftovers(services) == []


async def test_shutdown_tells_those_it_cancels(make_services: MakeServices) -> None:
    hold = Hold()
    services = make_services(hold)
    connection = Connection(services, form(file()))
    request = asyncio.create_task(connection.run())
    await hold.reached.wait()
    services.draining = True
    request.cancel()
    await request
    assert connection.sent[0]["status"] == 503
    assert b"shutting_down" in connection.sent[1]["body"]
    assert leftovers(services) == []


async def test_shutdown_tells_streams_it_cancels(make_services: MakeServices) -> None:
    hold = Hold()
    services = make_services(*SCRIPT[:2], hold)
    connection = Connection(services, form(file(), field("stream", "true")))
    request = asyncio.create_task(connection.run())
    await hold.reached.wait()
    services.draining = True
    request.cancel()
    await request
    bodies = [message["body"] for message in connection.sent[1:]]
    assert b"shutting_down" in bodies[-2]
    assert bodies[-1] == b""


# while_connected alone


async def gone_after(event: asyncio.Event) -> Message:
    await event.wait()
    return {"type": "http.disconnect"}


async def test_work_that_ends_first_is_left_alone() -> None:
    event = asyncio.Event()
    async with while_connected(lambda: gone_after(event)):
        pass
    event.set()
    await asyncio.sleep(0)


async def test_an_error_of_the_work_is_its_own() -> None:
    with pytest.raises(TimeoutError, match="mine"):
        async with while_connected(lambda: gone_after(asyncio.Event())):
            raise TimeoutError("mine")


async def test_leaving_becomes_one_error() -> None:
    event = asyncio.Event()
    with pytest.raises(ClientGone):
        async with while_connected(lambda: gone_after(event)):
            event.set()
            await asyncio.Event().wait()


async def test_a_body_that_is_left_does_not_count_as_leaving() -> None:
    messages: list[Message] = [{"type": "http.request", "body": b"rest", "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else await gone_after(asyncio.Event())

    async with while_connected(receive):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert messages == []
