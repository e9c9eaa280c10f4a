"""A chat server of our own, and models of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from tests.chat_server import FakeChatServer, chat_server

from kikitori.llm.client import ChatModels
from kikitori.media.guard import Guard, guarded_client

KEY = "sk-operator-0123456789"


@pytest.fixture
async def server() -> AsyncIterator[FakeChatServer]:
    async with chat_server() as fake:
        yield fake


def guarded(*networks: str) -> httpx.AsyncClient:
    return guarded_client(Guard.allowing(networks), param="base_url")


@pytest.fixture
def models(server: FakeChatServer) -> ChatModels:
    """The server's own endpoint; callers may reach loopback too."""
    return ChatModels(
        guarded=lambda: guarded("127.0.0.0/8"), base_url=server.url, api_key=KEY, model="house", silence_seconds=60.0
    )
