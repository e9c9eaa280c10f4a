"""The seam between a protocol and the socket pump, which calls these in the order of what happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kikitori.errors import KikitoriError
from kikitori.live.events import LiveEvent
from kikitori.protocols.actions import Action


class Codec(Protocol):
    """One connection's side of a protocol. Never raises for what a client sent: it answers."""

    def opened(self) -> Sequence[Action]:
        """The socket is open and its caller is known."""
        ...

    def text(self, frame: str) -> Sequence[Action]:
        """The client sent a text frame."""
        ...

    def binary(self, frame: bytes) -> Sequence[Action]:
        """The client sent a binary frame."""
        ...

    def event(self, event: LiveEvent, stream: str = "") -> Sequence[Action]:
        """A session said something."""
        ...

    def ready(self, stream: str, *, token: str, samples: int, resumed: bool) -> Sequence[Action]:
        """The session is open; ``samples`` (in the input's own rate) are safe here, ``token`` takes it up again."""
        ...

    def received(self, stream: str, samples: int) -> Sequence[Action]:
        """About once a second: how much audio of the session is safe here (samples in the input's own rate)."""
        ...

    def failed(self, error: KikitoriError, stream: str = "") -> Sequence[Action]:
        """An action could not be done: the session could not be opened, the audio could not be read …"""
        ...

    def ended(self, stream: str = "") -> Sequence[Action]:
        """The session is over, and everything it said was passed on."""
        ...

    def closing(self, code: int, reason: str) -> Sequence[Action]:
        """The server is about to close the socket, and why: too idle (1000), too slow (1008), shutting down (1012) …"""
        ...
