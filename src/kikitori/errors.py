"""One tree of errors; the edge maps it once to HTTP, WebSocket and exit codes.

KikitoriError
├── InvalidInput             the caller can mend it: names the field and the remedy
│   ├── InvalidOption        a value out of its range
│   ├── InvalidMedia         not audio or video, or nothing of it can be decoded
│   ├── Unsupported          the chosen engine or model cannot do this
│   ├── ForbiddenAddress     a link into a private network
│   ├── ChatRefused          the chat endpoint, key or model that the caller brought
│   └── LinkFailed           a link that brings no media
│       └── SiteFailed       a video site gives a reason why not
│           └── LiveStream   it has not ended yet
├── Unauthorized             no key, or a wrong one
├── Forbidden                a right key without this right
├── NotFound
│   └── ModelNotFound
├── Conflict                 not in this state
├── TooLarge                 over a size limit
├── Busy                     come back in ``retry_after`` seconds
├── Unavailable              no engine is ready
│   ├── ModelLoadFailed
│   ├── StoreFailed          the database or the media store is away
│   ├── NoSpace              the disk is full
│   ├── RemoteFailed         a recogniser elsewhere does not answer
│   ├── ChatFailed           no language model is set up, or it does not answer
│   └── SpeechFailed         no engine that speaks is set up, or it does not speak
└── DecodingCancelled        the caller went away; nobody is told
"""

from __future__ import annotations

from collections.abc import Iterable


class KikitoriError(Exception):
    """Base of all our errors: a stable ``code``, a sentence for people, and a ``remedy``."""

    code = "internal_error"

    def __init__(self, message: str, *, remedy: str = "", param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.param = param

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()

    @property
    def public(self) -> str:
        """What the clients of a server may read."""
        return str(self)


class InvalidInput(KikitoriError):
    code = "invalid_value"


class InvalidOption(InvalidInput):
    """A value that is not allowed: says which field, what came and what is allowed."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
        super().__init__(f"{field} is {shown}.", remedy=f"Allowed: {allowed}.", param=field)
        self.field = field
        self.value = value
        self.allowed = allowed


class InvalidMedia(InvalidInput):
    def __init__(self, message: str, *, remedy: str = "Send an audio or video file.", param: str = "file") -> None:
        super().__init__(message, remedy=remedy, param=param)


class Unsupported(InvalidInput):
    """The engine cannot do this; ``engines`` are those that can."""

    code = "unsupported_value"

    def __init__(self, message: str, *, param: str, engines: Iterable[str] = ()) -> None:
        self.engines = tuple(engines)
        remedy = f"Engines that can: {', '.join(self.engines)}." if self.engines else ""
        super().__init__(message, remedy=remedy, param=param)


class ForbiddenAddress(InvalidInput):
    """``host`` is what the link says; the address behind it is for the log."""

    code = "forbidden_address"

    def __init__(self, host: str, *, param: str = "url") -> None:
        super().__init__(
            f"{param} leads to a private address ({host}).",
            remedy="Use a public one, or ask the operator to add it to KIKITORI_ALLOWED_ADDRESSES.",
            param=param,
        )
        self.host = host


class LinkFailed(InvalidInput):
    code = "link_failed"

    def __init__(self, message: str, *, remedy: str = "Check the link.", param: str = "url") -> None:
        super().__init__(message, remedy=remedy, param=param)


class SiteFailed(LinkFailed):
    code = "site_error"


class LiveStream(SiteFailed):
    code = "live_stream"


class ChatRefused(InvalidInput):
    """``param`` names what the caller should change; ``quote`` as in ChatFailed."""

    code = "llm_refused"

    def __init__(self, message: str, *, param: str, quote: str = "") -> None:
        super().__init__(message, remedy=f"Check {param}.", param=param)
        self.quote = quote

    @property
    def public(self) -> str:
        return f"{self} It said: {self.quote}" if self.quote else str(self)


class Unauthorized(KikitoriError):
    code = "invalid_api_key"


class Forbidden(KikitoriError):
    code = "forbidden"


class NotFound(KikitoriError):
    code = "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"

    def __init__(self, model: str, *, remedy: str = "GET /v1/models lists what is here.") -> None:
        super().__init__(f"The model {model!r} does not exist here.", remedy=remedy, param="model")
        self.model = model


class Conflict(KikitoriError):
    code = "conflict"


class TooLarge(KikitoriError):
    code = "too_large"


class Busy(KikitoriError):
    """Too much at once; ``retry_after`` is in seconds."""

    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message, remedy=f"Try again in {retry_after:.0f} s.")
        self.retry_after = retry_after


class Unavailable(KikitoriError):
    code = "unavailable"


class ModelLoadFailed(Unavailable):
    """``place`` is where the model lies on the disk; clients read ``model`` instead."""

    code = "model_load_failed"

    def __init__(
        self, message: str, *, remedy: str = "", param: str | None = None, model: str = "", place: str = ""
    ) -> None:
        super().__init__(message, remedy=remedy, param=param)
        self.model, self.place = model, place

    @property
    def public(self) -> str:
        return str(self).replace(self.place, self.model) if self.place else str(self)


class StoreFailed(Unavailable):
    """The message says where the store is and what it said: for the operator. Clients read ``what`` fails."""

    def __init__(self, message: str, *, remedy: str = "", what: str = "store") -> None:
        super().__init__(message, remedy=remedy)
        self.what = what

    @property
    def public(self) -> str:
        return f"The {self.what} of the server cannot be used. Try again later."


class NoSpace(Unavailable):
    code = "no_space"


class RemoteFailed(Unavailable):
    code = "remote_unavailable"


class ChatFailed(Unavailable):
    """``quote`` is what the chat endpoint said: for its caller, not for the log, since it may repeat what was sent."""

    code = "llm_unavailable"

    def __init__(self, message: str, *, remedy: str = "", quote: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.quote = quote

    @property
    def public(self) -> str:
        return f"{self} It said: {self.quote}" if self.quote else str(self)


class SpeechFailed(Unavailable):
    code = "tts_unavailable"


class DecodingCancelled(KikitoriError):
    code = "cancelled"

    def __init__(self) -> None:
        super().__init__("The decoding was cancelled.")
