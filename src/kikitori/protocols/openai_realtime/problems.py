"""What a client did wrong, in OpenAI's words: a code, a message, and the path of the field."""

from __future__ import annotations

import reprlib
from typing import Any

from kikitori.errors import Busy, KikitoriError, ModelNotFound, Unauthorized, Unavailable

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"

TOO_MUCH_CLOSE = 1013
FAILED_CLOSE = 1011
NO_KEY_CLOSE = 3000
REFUSED_CLOSE = 4000
MAX_REASON_BYTES = 123
"""What a close frame has room for."""
MAX_SHOWN = 100
"""Characters of a value that a message repeats."""
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = MAX_SHOWN


class Problem(Exception):
    """An event that cannot be done; the session goes on as if it had not come."""

    def __init__(
        self, code: str | None, message: str, param: str | None = None, *, kind: str = INVALID_REQUEST
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.param, self.kind = code, message, param, kind

    def body(self, event_id: str | None) -> dict[str, Any]:
        """The ``error`` of an error event; ``event_id`` is that of the client's event."""
        return {
            "type": self.kind,
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "event_id": event_id,
        }


def invalid(param: str, value: object, allowed: str) -> Problem:
    return Problem("invalid_value", f"{param} is {shown(value)}. Allowed: {allowed}.", param)


def missing(param: str) -> Problem:
    return Problem("missing_required_parameter", f"{param} is missing.", param)


def wrong_type(param: str, value: object, wanted: str) -> Problem:
    return Problem("invalid_type", f"{param} is {shown(value)}; it must be {wanted}.", param)


def unknown(param: str, known: str) -> Problem:
    return Problem("unknown_parameter", f"There is no parameter {shortened(param)}. Known here: {known}.", param)


def too_long(param: str, most: str) -> Problem:
    return Problem("string_above_max_length", f"{param} is too long. Allowed: {most}.", param)


def shown(value: object) -> str:
    """``value`` in a few words, however large it is."""
    return shortened(_REPR.repr(value))


def shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


def problem_of(error: KikitoriError) -> Problem:
    """One of our errors as an error event shows it."""
    if isinstance(error, ModelNotFound):
        return Problem("invalid_model", error.public, "model")
    if isinstance(error, Busy):
        return Problem(error.code, error.public, error.param, kind="rate_limit_error")
    if isinstance(error, Unavailable):
        return Problem(error.code, error.public, error.param, kind=SERVER_ERROR)
    if type(error) is KikitoriError:
        return Problem(error.code, "The server failed on this request.", kind=SERVER_ERROR)
    return Problem(error.code, error.public, error.param)


def close_code_of(error: KikitoriError) -> int:
    """What a socket closes with that ends because of ``error``."""
    if isinstance(error, Unauthorized):
        return NO_KEY_CLOSE
    if isinstance(error, Busy | Unavailable):
        return TOO_MUCH_CLOSE
    return FAILED_CLOSE if type(error) is KikitoriError else REFUSED_CLOSE


def close_reason(problem: Problem) -> str:
    reason = f"{problem.kind}.{problem.code}" if problem.code else problem.kind
    return reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
