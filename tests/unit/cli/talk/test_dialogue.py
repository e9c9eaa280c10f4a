"""A client's side of a conversation: what is interrupted is not heard any more."""

from __future__ import annotations

import base64
from typing import Any

from kikitori.cli.talk.dialogue import Dialogue, Played, Problem, Replied, Shown, Who

SECOND = bytes(48_000)


def created(id: str) -> dict[str, Any]:
    return {"type": "response.created", "response": {"id": id}}


def sound(id: str, item: str = "item") -> dict[str, Any]:
    delta = base64.b64encode(SECOND).decode()
    return {"type": "response.output_audio.delta", "response_id": id, "item_id": item, "delta": delta}


def text(id: str, delta: str) -> dict[str, Any]:
    return {"type": "response.output_audio_transcript.delta", "response_id": id, "delta": delta}


def done(id: str, status: str = "completed", **error: Any) -> dict[str, Any]:
    details = {"error": error} if error else None
    return {"type": "response.done", "response": {"id": id, "status": status, "status_details": details}}


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def test_a_turn_and_its_reply() -> None:
    dialogue = Dialogue()
    assert types(dialogue.begin(0)) == ["input_audio_buffer.clear"]
    assert dialogue.speak(b"\1\2")["audio"] == base64.b64encode(b"\1\2").decode()
    assert types(dialogue.commit()) == ["input_audio_buffer.commit", "response.create"]
    transcript = {"type": "conversation.item.input_audio_transcription.completed", "transcript": " Hello. "}
    delta = {"type": "conversation.item.input_audio_transcription.delta", "delta": "Hel"}
    assert dialogue.hear(delta) == [Shown(Who.YOU, "Hel")]
    assert dialogue.hear(transcript) == [Shown(Who.YOU, "Hello.", ends=True, whole=True)]
    assert dialogue.hear(created("r1")) == []
    assert dialogue.hear(text("r1", "Hi")) == [Shown(Who.AGENT, "Hi")]
    assert dialogue.hear(sound("r1")) == [Played(SECOND)]
    assert dialogue.hear(done("r1")) == [Shown(Who.AGENT, "", ends=True), Replied()]


def test_speaking_stops_the_reply_where_it_was_heard() -> None:
    dialogue = Dialogue()
    dialogue.hear(created("r1"))
    dialogue.hear(sound("r1"))
    cancel, truncate, clear = dialogue.begin(400)
    assert cancel == {"type": "response.cancel", "response_id": "r1"}
    assert (truncate["item_id"], truncate["audio_end_ms"]) == ("item", 400)
    assert clear["type"] == "input_audio_buffer.clear"
    assert dialogue.hear(sound("r1")) == dialogue.hear(text("r1", "late")) == []
    assert dialogue.hear(done("r1", "cancelled")) == []
    assert dialogue.hear(created("r2")) == []
    assert dialogue.hear(sound("r2")) == [Played(SECOND)]


def test_a_reply_that_is_complete_but_still_playing_is_cut_and_not_cancelled() -> None:
    dialogue = Dialogue()
    dialogue.hear(created("r1"))
    dialogue.hear(sound("r1"))
    dialogue.hear(done("r1"))
    assert types(dialogue.begin(400)) == ["conversation.item.truncate", "input_audio_buffer.clear"]


def test_what_was_heard_to_its_end_is_left_alone() -> None:
    dialogue = Dialogue()
    dialogue.hear(created("r1"))
    dialogue.hear(sound("r1"))
    dialogue.hear(done("r1"))
    assert types(dialogue.begin(1_000)) == ["input_audio_buffer.clear"]


def test_a_reply_that_had_not_begun_is_cancelled_when_it_does() -> None:
    dialogue = Dialogue()
    dialogue.commit()
    dialogue.begin(0)
    assert dialogue.hear(created("r1")) == [{"type": "response.cancel", "response_id": "r1"}]
    assert dialogue.hear(sound("r1")) == []
    assert dialogue.hear(done("r1", "cancelled")) == []
    dialogue.commit()
    assert dialogue.hear(created("r2")) == []


def test_what_fails_is_said_and_what_was_only_late_is_not() -> None:
    dialogue = Dialogue()
    dialogue.hear(created("r1"))
    assert dialogue.hear(done("r1", "failed", message="No model."))[-1] == Replied("No model.")
    late = {"type": "error", "error": {"code": "response_cancel_not_active", "message": "over"}}
    assert dialogue.hear(late) == []
    assert dialogue.hear({"type": "error", "error": {"code": "x", "message": "No."}}) == [Problem("No.")]


def test_what_was_not_understood_is_said() -> None:
    failed = {"type": "conversation.item.input_audio_transcription.failed", "error": {"message": "Broken."}}
    assert Dialogue().hear(failed) == [Shown(Who.YOU, "(not understood)", ends=True, whole=True)]


def test_the_session_says_what_the_user_wants() -> None:
    event = Dialogue().session(instructions="Be kind.", voice="sage", language="de", hears="small", speaks=False)
    session = event["session"]
    assert (session["instructions"], session["output_modalities"]) == ("Be kind.", ["text"])
    assert session["audio"]["input"]["transcription"] == {"model": "small", "language": "de"}
    assert session["audio"]["input"]["turn_detection"] is None
    assert session["audio"]["output"]["voice"] == "sage"
    plain = Dialogue().session(instructions=None, voice="", language="", hears="small", speaks=True)["session"]
    assert "instructions" not in plain
    assert "voice" not in plain["audio"]["output"]
