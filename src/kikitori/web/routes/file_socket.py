"""Files over a WebSocket, transcribed while the client looks on."""

from __future__ import annotations

from fastapi import APIRouter, WebSocket

from kikitori.errors import KikitoriError
from kikitori.protocols.file_ws import FileSocketCodec
from kikitori.tasks.kept_files import FileKeeper
from kikitori.web.sockets.file_socket import FileSocket
from kikitori.web.sockets.file_work import FileParts
from kikitori.web.sockets.opening import admitted, refuse
from kikitori.web.state import State, WebState

router = APIRouter(tags=["audio"])


@router.websocket("/ws")
async def file_socket(websocket: WebSocket, state: State) -> None:
    """``transcribe``, ``stop``; docs/file-websocket.md has the messages."""
    codec = FileSocketCodec(max_bytes=state.uploads.max_bytes)
    try:
        caller = await admitted(websocket, state)
    except KikitoriError as exc:
        await refuse(websocket, codec, exc)
        return
    idle_seconds = state.services.settings.live_idle_seconds
    served = FileSocket(websocket, codec, _parts(state), caller, idle_seconds=idle_seconds)
    await state.sockets.serve_files(websocket, codec, caller, served)


def _parts(state: WebState) -> FileParts:
    services = state.services
    return FileParts(
        transcriber=services.transcriber,
        check=services.check_supported,
        keeper=FileKeeper(services.kept, services.tasks.media),
        room=state.sockets.file_room,
        folder=state.uploads.folder,
        max_bytes=state.uploads.max_bytes,
        threads=state.uploads.threads,
    )
