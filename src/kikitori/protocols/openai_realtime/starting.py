"""How a session begins: from the query of its socket, or from a client secret."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from kikitori.protocols.openai_realtime import beta
from kikitori.protocols.openai_realtime.checks import mapping
from kikitori.protocols.openai_realtime.fields import REALTIME, TRANSCRIPTION, checked_change, kind_of
from kikitori.protocols.openai_realtime.problems import Problem, invalid, shown
from kikitori.protocols.openai_realtime.sessions import Session, is_conversation_model, merged, new_session

SESSION_SECONDS = 3_600
"""How long a session may last."""
DEFAULT_CONVERSATION_MODEL = "gpt-realtime"

Models: TypeAlias = Callable[[str], bool]
"""Whether a model that transcribes has this name, or this other name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The session, and what is known beside it."""

    session: Session
    asr_model: str = ""
    """The model that hears when an update names none."""
    may_switch: bool = False
    """Nothing says that it should only transcribe; the first update may."""


def from_query(*, intent: str, model: str, models: Models, id: str, now: float) -> Start:
    """A socket's session, without a client secret. Raises Problem: the socket is closed then."""
    if intent not in ("", "conversation", TRANSCRIPTION):
        raise invalid("intent", intent, TRANSCRIPTION)
    if not model and intent != TRANSCRIPTION:
        raise Problem(
            "missing_model", "Name a model, or ask for a transcription: ?model=… or ?intent=transcription.", "model"
        )
    answers = is_conversation_model(model)
    if model and not answers and not models(model):
        raise Problem("invalid_model", f"The model {shown(model)} does not exist here.", "model")
    asr_model = "" if answers else model
    kind = TRANSCRIPTION if intent == TRANSCRIPTION else REALTIME
    session = new_session(kind, id=id, expires_at=_expiry(now), model=model, asr_model=asr_model)
    return Start(session=session, asr_model=asr_model, may_switch=kind == REALTIME)


def from_config(config: Mapping[str, Any], *, id: str, now: float) -> Start:
    """A session from what ``checked_config`` gave. Raises Problem."""
    model = config.get("model", DEFAULT_CONVERSATION_MODEL)
    fresh = new_session(config["type"], id=id, expires_at=_expiry(now), model=model)
    return Start(session=merged(fresh, config), may_switch=config["type"] == REALTIME)


def checked_config(config: Any, *, models: Models) -> dict[str, Any]:
    """The session object of a request for a client secret, as it is kept. Raises Problem."""
    return _named_model(checked_change(config, kind_of(mapping(config, "session"))), "session.audio.input", models)


def checked_flat_config(config: Any, kind: str, *, models: Models) -> dict[str, Any]:
    """The same in the shape of the beta. Raises Problem."""
    checked = beta.checked_change(config, kind)
    return _named_model({**checked, "type": kind}, "session.input_audio", models)


def check_asr_model(session: Mapping[str, Any], path: str, models: Models) -> None:
    """Raises Problem when the model that shall transcribe is not here."""
    asked = session.get("audio", {}).get("input", {}).get("transcription")
    if asked and (model := asked.get("model")) and not models(model):
        raise invalid(path, model, "a model that GET /v1/models lists")


def _named_model(config: dict[str, Any], path: str, models: Models) -> dict[str, Any]:
    joint = "_" if path.endswith("_audio") else "."
    check_asr_model(config, f"{path}{joint}transcription.model", models)
    model = config.get("model", "")
    if model and not is_conversation_model(model) and not models(model):
        raise Problem("invalid_model", f"The model {shown(model)} does not exist here.", "session.model")
    return config


def _expiry(now: float) -> int:
    return int(now) + SESSION_SECONDS
