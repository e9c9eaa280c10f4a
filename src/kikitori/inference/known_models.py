"""Whisper models that are known by a short name: where the hub keeps them, and which is better.

Facts only; whether a model is here, ``models.py`` says.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A Whisper model converted to CTranslate2."""

    name: str
    hub_id: str
    size_bytes: int
    """About what is downloaded."""
    english_only: bool = False


def _known(name: str, hub_id: str, megabytes: int, *, english_only: bool = False) -> KnownModel:
    return KnownModel(name=name, hub_id=hub_id, size_bytes=megabytes * 1_000_000, english_only=english_only)


KNOWN_MODELS = {
    model.name: model
    for model in (
        _known("large-v3", "Systran/faster-whisper-large-v3", 3_090),
        _known("large-v3-turbo", "mobiuslabsgmbh/faster-whisper-large-v3-turbo", 1_620),
        _known("large-v2", "Systran/faster-whisper-large-v2", 3_090),
        _known("large-v1", "Systran/faster-whisper-large-v1", 3_090),
        _known("medium", "Systran/faster-whisper-medium", 1_530),
        _known("small", "Systran/faster-whisper-small", 486),
        _known("base", "Systran/faster-whisper-base", 148),
        _known("tiny", "Systran/faster-whisper-tiny", 78),
        _known("distil-large-v3.5", "distil-whisper/distil-large-v3.5-ct2", 1_520, english_only=True),
        _known("distil-large-v3", "Systran/faster-distil-whisper-large-v3", 1_520, english_only=True),
        _known("distil-large-v2", "Systran/faster-distil-whisper-large-v2", 1_520, english_only=True),
        _known("medium.en", "Systran/faster-whisper-medium.en", 1_530, english_only=True),
        _known("distil-medium.en", "Systran/faster-distil-whisper-medium.en", 790, english_only=True),
        _known("small.en", "Systran/faster-whisper-small.en", 486, english_only=True),
        _known("distil-small.en", "Systran/faster-distil-whisper-small.en", 336, english_only=True),
        _known("base.en", "Systran/faster-whisper-base.en", 148, english_only=True),
        _known("tiny.en", "Systran/faster-whisper-tiny.en", 78, english_only=True),
    )
}
"""Best first: those for all languages, then those that were made for English."""

OTHER_NAMES = {"large": "large-v3", "turbo": "large-v3-turbo"}

FIRST_MODEL = {"cpu": "base", "cuda": "large-v3-turbo"}
"""What ``auto`` downloads when no Whisper model is here, by device."""

_BY_HUB_ID = {model.hub_id.lower(): model.name for model in KNOWN_MODELS.values()}
_RANKS = {name: rank for rank, name in enumerate(KNOWN_MODELS)}


def canonical_name(name: str) -> str:
    """The one name of a model that has several: its short name, if it has one."""
    return OTHER_NAMES.get(name) or _BY_HUB_ID.get(name.lower()) or name


def hub_id(name: str) -> str | None:
    """Where the hub keeps the model ``name``; None when the name cannot be one of the hub's."""
    if known := KNOWN_MODELS.get(canonical_name(name)):
        return known.hub_id
    return name if is_hub_id(name) else None


def is_hub_id(name: str) -> bool:
    """``organisation/model``, in the letters the hub allows."""
    parts = name.split("/")
    return len(parts) == 2 and all(_is_hub_word(part) for part in parts)


def rank(name: str) -> int:
    """0 is the best; models we do not know come after all we know."""
    return _RANKS.get(name, len(_RANKS))


def _is_hub_word(word: str) -> bool:
    plain = word.replace("-", "").replace("_", "").replace(".", "")
    return plain.isascii() and plain.isalnum() and word[0].isalnum() and "--" not in word and ".." not in word
