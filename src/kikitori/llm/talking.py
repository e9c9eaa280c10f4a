"""A conversation with a language model that may call functions: pieces of text, pieces of calls, and how it ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk

ChatMessage: TypeAlias = Mapping[str, Any]
"""As the chat completions protocol has it: ``role``, ``content``, ``tool_calls``, ``tool_call_id``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkRequest:
    """What a language model is asked."""

    messages: Sequence[ChatMessage]
    tools: Sequence[Mapping[str, Any]] = ()
    """As the protocol has them: ``{"type": "function", "function": {…}}``."""
    tool_choice: Any = None
    max_tokens: int | None = None
    """Of the answer."""
    temperature: float | None = None
    parallel_tool_calls: bool | None = None
    """Several functions may be called side by side; None: as the endpoint likes."""
    effort: str = ""
    """How much a model that reasons shall think; empty: as it likes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A piece of a function call; the first one of a call has ``id`` and ``name``."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The last piece. ``reason``: ``stop``, ``length``, ``tool_calls``, ``content_filter``."""

    reason: str
    usage: TokenUsage | None = None
    """None: the endpoint does not count."""


TalkPiece: TypeAlias = Said | Called | Ended


class TalkingModel(Protocol):
    """One model of one endpoint; ``llm.client.OpenAIChat``."""

    def talk(self, request: TalkRequest) -> AsyncGenerator[TalkPiece, None]:
        """Its answer; closing the generator stops the model. Raises ChatFailed, ChatRefused, Busy."""
        ...


@dataclass(slots=True)
class TalkReader:
    """Turns the chunks of a stream into pieces. Pure."""

    reason: str = ""
    said: int = 0
    """Characters so far, of text and calls."""
    _usage: TokenUsage | None = field(default=None)

    def pieces(self, chunk: ChatCompletionChunk) -> Iterator[TalkPiece]:
        if usage := chunk.usage:
            details = usage.prompt_tokens_details
            self._usage = TokenUsage(
                input_tokens=usage.prompt_tokens,
                output_tokens=usage.completion_tokens,
                cached_tokens=(details.cached_tokens or 0) if details else 0,
            )
        for choice in chunk.choices[:1]:
            if text := choice.delta.content or choice.delta.refusal:
                self.said += len(text)
                yield Said(text=text)
            for call in choice.delta.tool_calls or ():
                function = call.function
                arguments = (function.arguments if function else "") or ""
                self.said += len(arguments)
                name = (function.name if function else "") or ""
                yield Called(index=call.index, id=call.id or "", name=name, arguments=arguments)
            self.reason = choice.finish_reason or self.reason

    def ended(self) -> Ended:
        return Ended(reason=self.reason, usage=self._usage)


def asked_of_sdk(request: TalkRequest, *, new_limit: bool) -> dict[str, Any]:
    """Arguments for the SDK. ``new_limit``: OpenAI's own endpoint has another name for the limit."""
    asked: dict[str, Any] = {
        "messages": list(request.messages),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.tools:
        asked["tools"] = list(request.tools)
        if request.tool_choice is not None:
            asked["tool_choice"] = request.tool_choice
        if request.parallel_tool_calls is not None:
            asked["parallel_tool_calls"] = request.parallel_tool_calls
    if request.effort:
        asked["reasoning_effort"] = request.effort
    if request.max_tokens is not None:
        asked["max_completion_tokens" if new_limit else "max_tokens"] = request.max_tokens
    if request.temperature is not None:
        asked["temperature"] = request.temperature
    return asked
