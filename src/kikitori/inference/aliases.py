"""Other names of models: those of the settings, and those that programs written for OpenAI ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from kikitori.errors import InvalidOption

OPENAI_NAMES = ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe")
"""All mean the default model, and are shown in lists."""
OPENAI_PATTERN = re.compile(r"whisper-1|gpt-(.+-)?transcribe.*|gpt-realtime-whisper")

GENERAL_NAME, TUNED_NAME = "汎用モデル", "チューニングモデル"
"""What clients of the file WebSocket call a model for everything, and one's own; both mean the default model until the
settings say otherwise."""


class Aliases:
    """Names that stand for others; those of the settings win over the usual ones. Raises InvalidOption for circles."""

    def __init__(self, settings: Mapping[str, str], *, default: str) -> None:
        self._settings, self.default = dict(settings), default
        if _means_default(default) and default not in self._settings:
            raise InvalidOption("model", default, "the name of a model; this one stands for the default model")
        for alias in self._settings:
            self._check(alias)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._settings, *OPENAI_NAMES)))

    @property
    def targets(self) -> tuple[str, ...]:
        """What the operator named: the default and where the aliases of the settings lead."""
        return (self.default, *self._settings.values())

    def follow(self, name: str) -> str:
        """The name of a model (or ``auto``) that ``name`` stands for; "" is the default."""
        following: str | None = name or self.default
        while following is not None:
            name, following = following, self._next(following)
        return name

    def _next(self, name: str) -> str | None:
        if name in self._settings:
            return self._settings[name] or self.default
        return self.default if _means_default(name) else None

    def _check(self, alias: str) -> None:
        chain = [alias]
        while (following := self._next(chain[-1])) is not None:
            if following in chain:
                raise InvalidOption("model_aliases", " → ".join([*chain, following]), "aliases that end at a model")
            chain.append(following)


def _means_default(name: str) -> bool:
    return name in (GENERAL_NAME, TUNED_NAME) or OPENAI_PATTERN.fullmatch(name) is not None
