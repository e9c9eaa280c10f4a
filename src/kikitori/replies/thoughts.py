"""What a language model only thinks: some write it down first, and nobody wants to hear it."""

from __future__ import annotations

BEGIN, END = "<think>", "</think>"


class ThoughtFilter:
    """Text of a reply in, the same without the thoughts it begins with out."""

    def __init__(self) -> None:
        self._held = ""
        self._thinking = self._thought = False
        self._speaking = False

    def push(self, text: str) -> str:
        """What may be told now."""
        if self._speaking:
            return text
        self._held += text
        if self._thought:  # space between thoughts and the answer belongs to neither
            self._held = self._held.lstrip()
        if not self._thinking:
            start = self._held.lstrip()
            if start.startswith(BEGIN):
                self._thinking = True
            elif BEGIN.startswith(start):
                return ""  # it may become one
            else:
                return self.finish()
        _, end, after = self._held.partition(END)
        if not end:
            self._held = self._held[-len(END) :]  # of thoughts only what may be the beginning of their end
            return ""
        self._thinking, self._thought, self._held = False, True, after
        return self.push("")

    def finish(self) -> str:
        """The rest: what looked like the beginning of a thought, and was none."""
        held = "" if self._thinking else self._held
        self._speaking, self._held = bool(held) or self._speaking, ""
        return held
