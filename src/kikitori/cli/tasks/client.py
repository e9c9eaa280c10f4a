"""``/api/tasks`` of a running server."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Self
from urllib.parse import quote

import httpx

from kikitori.cli.api import (
    ATTEMPTS,
    LONGEST_WAIT_SECONDS,
    error_from,
    not_a_server,
    open_client,
    reachable,
    refusal,
)
from kikitori.cli.tasks.facts import FINAL
from kikitori.errors import Busy, Conflict, KikitoriError, NotFound, Unavailable

TIMEOUT = httpx.Timeout(300, connect=10, write=120, pool=None)
"""Removing a task waits until its node lets go."""
SILENCE = httpx.Timeout(60, connect=10, pool=None)
"""A stream shows a sign of life every 15 s."""
SEND_AGAIN = 3
RECONNECT_PAUSES = (0.2, 0.5, 1.0, 2.0, *[4.0] * 60)
"""Seconds between the attempts to get a lost stream back; a server may take minutes to restart."""
RETRY_WORDS = "POST …/retry starts it again."

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a task's life: ``status``, ``segment`` or ``progress``."""

    name: str
    id: str
    data: Json


class TaskClient:
    """What the commands ask of a server. Everything raises KikitoriError."""

    def __init__(self, client: httpx.AsyncClient, *, pauses: Sequence[float] = RECONNECT_PAUSES) -> None:
        self._client, self._pauses = client, pauses

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, api_key: str) -> AsyncIterator[Self]:
        async with open_client(url, api_key, timeout=TIMEOUT) as client:
            yield cls(client)

    async def create(
        self, fields: Mapping[str, str | list[str]], file: BinaryIO | None = None, *, name: str = ""
    ) -> Json:
        """A task for ``file``, or for the link in ``fields``; its JSON.

        When the answer is lost the request is sent again, under a key that makes no second task of it.
        """
        data = {"idempotency_key": secrets.token_hex(16), **fields}
        for attempt in range(1, SEND_AGAIN + 1):
            try:
                if file is not None:
                    return await self._json("POST", "api/tasks", data=data, rewound=file, file_name=name)
                return await self._json("POST", "api/tasks", data=data)
            except Unavailable as exc:
                if attempt == SEND_AGAIN or not _lost_on_the_way(exc):
                    raise
                await asyncio.sleep(self._pauses[0])
        raise AssertionError("unreachable")

    async def page(self, query: Iterable[tuple[str, str]]) -> Json:
        return await self._json("GET", "api/tasks", params=[*query])

    async def get(self, task_id: str) -> Json:
        return await self._json("GET", _path(task_id), task_id=task_id)

    async def act(self, task_id: str, verb: str, fields: Mapping[str, str] | None = None) -> Json:
        """``cancel``, ``retry`` or ``priority``; the task as it is then."""
        return await self._json("POST", f"{_path(task_id)}/{verb}", task_id=task_id, data=fields)

    async def delete(self, task_id: str) -> None:
        await self._answer("DELETE", _path(task_id), task_id=task_id)

    async def file(self, task_id: str, query: Mapping[str, str]) -> bytes:
        """A file of the task's text. Raises Conflict when there is none, or none yet."""
        response = await self._answer("GET", f"{_path(task_id)}/subtitles", params=query, task_id=task_id)
        if response.status_code == httpx.codes.ACCEPTED:
            raise _not_yet(_object(response))
        return response.content

    async def events(self, task_id: str) -> AsyncGenerator[Event, None]:
        """From the start to the final ``status``, also when the connection is lost in between."""
        last, lost = "", 0
        while True:
            try:
                async with aclosing(self._stream(task_id, last)) as events:
                    async for event in events:
                        last, lost = event.id or last, 0
                        yield event
                        if event.name == "status" and event.data.get("status") in FINAL:
                            return
                problem = Unavailable("The server's stream broke off.", remedy="Check the server's log.")
            except (Unavailable, Busy) as exc:
                if not last:
                    raise  # it never came
                problem = exc if isinstance(exc, Unavailable) else Unavailable(str(exc))
            if lost == len(self._pauses):
                raise problem
            await asyncio.sleep(self._pauses[lost])
            lost += 1

    async def _stream(self, task_id: str, last: str) -> AsyncGenerator[Event, None]:
        headers = {"accept": "text/event-stream"} | ({"last-event-id": last} if last else {})
        request = self._client.build_request("GET", f"{_path(task_id)}/events", headers=headers, timeout=SILENCE)
        with reachable(self._client.base_url):
            response = await self._client.send(request, stream=True)
            try:
                if response.status_code == httpx.codes.NO_CONTENT:  # we know all but that it has ended
                    yield Event(name="status", id=last, data=await self.get(task_id))
                    return
                if not response.is_success:
                    raise await _refusal(response, task_id)
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise not_a_server(response)
                reader = _EventReader()
                async for line in response.aiter_lines():
                    if event := reader.event(line):
                        if event.name == "error":
                            raise error_from(500, event.data.get("error", {}))
                        yield event
            finally:
                await response.aclose()

    async def _json(self, method: str, path: str, **request: Any) -> Json:
        return _object(await self._answer(method, path, **request))

    async def _answer(
        self,
        method: str,
        path: str,
        *,
        task_id: str = "",
        rewound: BinaryIO | None = None,
        file_name: str = "",
        **request: Any,
    ) -> httpx.Response:
        """The answer of a server that may be busy for a while."""
        for attempt in range(1, ATTEMPTS + 1):
            if rewound is not None:
                rewound.seek(0)
                request["files"] = {"file": (file_name, rewound)}
            with reachable(self._client.base_url):
                response = await self._client.request(method, path, **request)
            if response.is_success:
                return response
            error = await _refusal(response, task_id)
            if not isinstance(error, Busy) or attempt == ATTEMPTS:
                raise error
            await asyncio.sleep(min(error.retry_after, LONGEST_WAIT_SECONDS))
        raise AssertionError("unreachable")


@dataclass(slots=True)
class _EventReader:
    """Lines of a stream of server-sent events → events. Pure."""

    _id: str = ""
    _name: str = ""
    _data: list[str] = field(default_factory=list)

    def event(self, line: str) -> Event | None:
        """The event that ``line`` completes."""
        if not line:
            return self._complete()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "id":
                self._id = value
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
        return None

    def _complete(self) -> Event | None:
        name, lines = self._name, self._data
        self._name, self._data = "", []
        if not lines:
            return None
        try:
            return Event(name=name, id=self._id, data={**json.loads("\n".join(lines))})
        except (ValueError, TypeError) as exc:
            raise Unavailable(
                "The server's stream is not understood.", remedy="Check --url, and the server's log."
            ) from exc


def _path(task_id: str) -> str:
    return f"api/tasks/{quote(task_id, safe='')}"


async def _refusal(response: httpx.Response, task_id: str) -> KikitoriError:
    """What is wrong, with the commands that help instead of requests."""
    error = await refusal(response)
    if task_id and response.status_code == httpx.codes.NOT_FOUND:
        return NotFound(f"There is no task {task_id!r} here.", remedy="`kikitori tasks list` shows yours.")
    if isinstance(error, Conflict) and RETRY_WORDS in error.message:
        error.message = error.message.replace(RETRY_WORDS, "").strip()
        error.remedy = f"`kikitori tasks retry {task_id}` starts it again."
    return error


def _object(response: httpx.Response) -> Json:
    try:
        return {**response.json()}
    except (ValueError, TypeError) as exc:
        raise not_a_server(response) from exc


def _lost_on_the_way(error: KikitoriError) -> bool:
    """The server may have done what it was asked: it was reached, and its answer was not."""
    cause = error.__cause__
    return isinstance(cause, httpx.TransportError) and not isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout)


def _not_yet(task: Json) -> Conflict:
    how_far = f" ({task['progress']:.0f} %)" if task.get("status") == "running" else ""
    return Conflict(
        f"The task is {task.get('status')}{how_far}: it has no whole text yet.",
        remedy="--wait waits for it, --partial gives what there is.",
    )
