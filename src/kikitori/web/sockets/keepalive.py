"""WebSockets whose clients are alive as long as anything comes of them.

uvicorn closes a socket when a ping is not answered in time. Here that need not be the client's fault: its answer may
wait behind audio that is not read while the server is behind, or behind a large message on a slow line.
"""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class PatientWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's, but a client that is not listened to, or that is sending, has more time to answer a ping."""

    _heard = False
    """Something came since the ping."""

    def data_received(self, data: bytes) -> None:
        self._heard = True
        super().data_received(data)

    def send_keepalive_ping(self) -> None:
        self._heard = False
        super().send_keepalive_ping()

    def keepalive_timeout(self) -> None:
        if self._heard or self.read_paused:
            self.pong_timer = None
            self.send_keepalive_ping()  # a client that has vanished is noticed by the attempt
        else:
            super().keepalive_timeout()
