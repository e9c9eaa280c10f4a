"""One attempt to deliver a callback: a POST, and what came of it. It never takes longer, or reads more, than it may."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace

import httpx

from kikitori import __version__
from kikitori.errors import KikitoriError, LinkFailed
from kikitori.media.guard import link_errors
from kikitori.store.task_rows import host_of
from kikitori.tasks.backoff import GONE, Reply
from kikitori.tasks.callback_urls import PARAM

SHOWN_BYTES = 512
"""Of an answer, kept for people."""
SHOW_SECONDS = 2.0
"""The status decides; for the rest of an answer nobody waits longer than this."""
HEADERS = {
    "content-type": "application/json",
    "user-agent": f"Kikitori/{__version__}",
    "accept-encoding": "identity",  # nothing is unpacked
}


async def deliver(
    client: httpx.AsyncClient, url: str, body: bytes, headers: Mapping[str, str], *, timeout: float
) -> Reply:
    """POST ``body`` to ``url`` once. Fails only by being cancelled."""
    began = time.monotonic()
    reply = await _reply(client, url, body, headers, timeout)
    return replace(reply, seconds=round(time.monotonic() - began, 3))


async def _reply(client: httpx.AsyncClient, url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> Reply:
    try:
        with link_errors(host_of(url), param=PARAM):
            async with asyncio.timeout(timeout) as deadline:
                sent = client.build_request("POST", url, content=body, headers={**headers, **HEADERS}, timeout=timeout)
                response = await client.send(sent, stream=True, follow_redirects=False)
                deadline.reschedule(None)  # the status is there, so the rest decides nothing
            try:
                return _judged(response, await _beginning(response))
            finally:
                await _closed(response)
    except TimeoutError:
        return Reply(error=f"There was no answer within {timeout:g} s.")
    except LinkFailed as exc:
        return Reply(error=exc.message)
    except KikitoriError as exc:
        # No address for callbacks: not today, and not in an hour.
        return Reply(error=str(exc), hopeless=True)


def _judged(response: httpx.Response, beginning: bytes) -> Reply:
    reply = Reply(status_code=response.status_code, response=_readable(beginning))
    if reply.delivered:
        return reply
    return replace(reply, error=_complaint(response.status_code), retry_after=_retry_after(response))


def _complaint(status: int) -> str:
    if 300 <= status < 400:
        return f"The answer was {status}: redirects are not followed. Name the address that this one leads to."
    if status == GONE:
        return f"The answer was {status}: the receiver wants no more of these."
    return f"The answer was {status}."


async def _beginning(response: httpx.Response) -> bytes:
    """As much of the answer as is kept; what does not come, or breaks off, is not missed."""
    found = b""
    try:
        async with asyncio.timeout(SHOW_SECONDS):
            async for part in response.aiter_raw():
                found += part
                if len(found) >= SHOWN_BYTES:
                    break
    except (TimeoutError, httpx.HTTPError, OSError):
        pass
    return found[:SHOWN_BYTES]


async def _closed(response: httpx.Response) -> None:
    try:
        await response.aclose()
    except (httpx.HTTPError, OSError):
        pass


def _readable(content: bytes) -> str:
    """As text without control characters, which neither databases nor terminals like."""
    text = content.decode(errors="replace")
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text.replace("\r\n", "\n"))


def _retry_after(response: httpx.Response) -> float:
    """In seconds; the other form, a date, is left to our own schedule."""
    asked = response.headers.get("retry-after", "")
    return float(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else 0.0
