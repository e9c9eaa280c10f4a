"""``response.create``: what one response shall be, over what the session says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kikitori.audio.pcm import Encoding
from kikitori.protocols.openai_realtime import fields
from kikitori.protocols.openai_realtime.beta import FORMATS
from kikitori.protocols.openai_realtime.checks import (
    MAX_NAME,
    Fields,
    anything,
    choice,
    either,
    flag,
    integer,
    listed,
    mapping,
    nullable,
    number,
    obj,
    text,
)
from kikitori.protocols.openai_realtime.conversation import Conversation, Item
from kikitori.protocols.openai_realtime.items import created
from kikitori.protocols.openai_realtime.listening import TELEPHONE_RATE
from kikitori.protocols.openai_realtime.problems import Problem, invalid
from kikitori.protocols.openai_realtime.sessions import PCM, Session

MAX_PAIRS, MAX_KEY, MAX_VALUE = 16, 64, 512
"""Of metadata."""
MAX_INPUT = 200
"""Items of a context of one's own."""
OTHER_INPUT = "item_reference"

Body = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One response, with everything the session says where the client did not."""

    modality: str
    """``audio`` or ``text``."""
    instructions: str
    voice: Any
    """A name, or ``{"id": …}``."""
    speed: float
    format: Mapping[str, Any]
    tools: tuple[Mapping[str, Any], ...]
    tool_choice: Any
    max_output_tokens: Any
    """A number, or ``inf``."""
    temperature: float | None
    parallel_tool_calls: bool | None
    effort: str
    """How much a model that reasons shall think."""
    metadata: Mapping[str, str] | None
    in_conversation: bool
    context: tuple[Item, ...] | None
    """They take the place of the conversation."""

    @property
    def voice_name(self) -> str:
        return str(self.voice["id"]) if isinstance(self.voice, Mapping) else str(self.voice)

    @property
    def sound(self) -> tuple[Encoding, int]:
        return sound_of(self.format)


def sound_of(format: Mapping[str, Any]) -> tuple[Encoding, int]:
    """The samples of an audio format, and how many a second."""
    return {
        "audio/pcm": (Encoding.S16LE, fields.PCM_RATE),
        "audio/pcmu": (Encoding.MULAW, TELEPHONE_RATE),
        "audio/pcma": (Encoding.ALAW, TELEPHONE_RATE),
    }[format["type"]]


def _modalities(value: Any, path: str) -> list[str]:
    """One is today's shape; the beta names both for speech."""
    asked: list[str] = listed(choice("text", "audio"), most=2)(value, path)
    if not asked:
        raise invalid(path, value, '["audio"] or ["text"]')
    return ["audio"] if "audio" in asked else ["text"]


def _metadata(value: Any, path: str) -> dict[str, str]:
    pairs = mapping(value, path)
    if len(pairs) > MAX_PAIRS:
        raise Problem("object_above_max_properties", f"{path} has {len(pairs)} pairs; {MAX_PAIRS} at most.", path)
    return {text(MAX_KEY)(key, path): text(MAX_VALUE)(given, f"{path}.{key}") for key, given in pairs.items()}


_FIELDS: Fields = {
    "audio": obj({"output": obj({"format": fields.audio_format, "voice": fields.voice, "speed": fields.speed})}),
    "conversation": choice("auto", "none"),
    "input": nullable(listed(mapping, most=MAX_INPUT)),
    "instructions": nullable(text()),
    "max_output_tokens": nullable(fields.max_tokens),
    "metadata": nullable(_metadata),
    "output_modalities": nullable(_modalities),
    "parallel_tool_calls": nullable(flag),
    "prompt": anything,
    "reasoning": fields.reasoning,
    "tool_choice": nullable(fields.tool_choice),
    "tools": fields.tools,
    # The beta's:
    "modalities": nullable(_modalities),
    "voice": fields.voice,
    "output_audio_format": choice(*FORMATS),
    "temperature": nullable(number(0, 2)),
    "max_response_output_tokens": nullable(either(integer(1, 4_096), choice("inf"))),
    "commit": anything,
    "cancel_previous": anything,
}


def asked(
    event: Mapping[str, Any], session: Session, conversation: Conversation, new_id: Callable[[str], str]
) -> Asked:
    """What a ``response.create`` asks for. Raises Problem."""
    given = event.get("response")
    checked: Body = {} if given is None else obj(_FIELDS)(given, "response")
    output = session["audio"]["output"]
    wanted = checked.get("audio", {}).get("output", {})
    format = wanted.get("format") or FORMATS.get(checked.get("output_audio_format", ""), output["format"])
    return Asked(
        modality=(_first(checked, "output_modalities", "modalities") or session["output_modalities"])[0],
        instructions=_over(session["instructions"], checked.get("instructions")),
        voice=wanted.get("voice") or checked.get("voice") or output["voice"],
        speed=wanted.get("speed") or output["speed"],
        format=PCM if format["type"] == "audio/pcm" else format,
        tools=tuple(_over(session["tools"], checked.get("tools"))),
        tool_choice=_over(session["tool_choice"], checked.get("tool_choice")),
        max_output_tokens=_first(checked, "max_output_tokens", "max_response_output_tokens")
        or session["max_output_tokens"],
        temperature=_over(session.get("temperature"), checked.get("temperature")),
        parallel_tool_calls=_over(session.get("parallel_tool_calls"), checked.get("parallel_tool_calls")),
        effort=(_first(checked, "reasoning") or session.get("reasoning") or {}).get("effort", ""),
        metadata=checked.get("metadata"),
        in_conversation=checked.get("conversation", "auto") == "auto",
        context=_context(checked.get("input"), conversation, new_id),
    )


def _context(
    given: list[Body] | None, conversation: Conversation, new_id: Callable[[str], str]
) -> tuple[Item, ...] | None:
    if given is None:
        return None
    return tuple(_item(entry, number, conversation, new_id) for number, entry in enumerate(given))


def _item(entry: Body, number: int, conversation: Conversation, new_id: Callable[[str], str]) -> Item:
    path = f"response.input[{number}]"
    if entry.get("type") != OTHER_INPUT:
        try:
            return created(entry, id=new_id("item"))
        except Problem as problem:
            param = (problem.param or "item").replace("item", path, 1)
            raise Problem(problem.code, f"{path}: {problem.message}", param) from None
    id = text(MAX_NAME)(entry.get("id"), f"{path}.id")
    if (item := conversation.get(id)) is None:
        raise Problem("invalid_value", "There is no item with this id.", f"{path}.id")
    return item


def _first(given: Body, *names: str) -> Any:
    return next((given[name] for name in names if given.get(name) is not None), None)


def _over(usual: Any, given: Any) -> Any:
    return usual if given is None else given
