"""Transcript → units: the pieces a cue is made of, each with its time, never cut again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from kikitori.text.durations import finite
from kikitori.text.glyphs import Break, break_between, clean, fit, is_spaceless, width, words
from kikitori.text.subtitle_options import SubtitleLayout
from kikitori.types import Segment, Transcript, Word

SLOWEST_SPEECH = 0.2
"""Seconds per column. A segment without word times that lasts longer than this holds silence at its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Text that stays on one line."""

    text: str
    start: float
    end: float
    spaced: bool
    """Whitespace stands before it."""
    columns: int
    after: Break = Break.RUN
    ends_segment: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Units of one speaker with no long pause between them; cues never cross its ends."""

    units: tuple[Unit, ...]
    speaker: str | None
    prefix: str = ""
    """Stands before the first line of every cue."""

    @property
    def indent(self) -> int:
        return width(self.prefix)


@dataclass(slots=True, kw_only=True)
class _Atom:
    """A word or a character, before those that must not be parted are joined."""

    text: str
    start: float
    end: float
    spaced: bool
    timed: bool = True
    first: bool = False
    """The first of its segment."""


@dataclass(slots=True)
class _Group:
    """Atoms that make one unit."""

    atoms: list[_Atom]
    after: Break = Break.RUN
    ends_segment: bool = False

    @property
    def tail(self) -> str:
        """Its end: a full stop and the brackets that close after it."""
        return "".join(atom.text for atom in self.atoms[-4:])

    @property
    def text(self) -> str:
        head, *rest = self.atoms
        return head.text + "".join(" " * atom.spaced + atom.text for atom in rest)


def stretches(transcript: Transcript, layout: SubtitleLayout) -> list[Stretch]:
    """All the text, speaker by speaker, each in time order."""
    found: list[Stretch] = []
    by_speaker: dict[str | None, list[Segment]] = {}
    for segment in transcript.segments:
        by_speaker.setdefault(segment.speaker or None, []).append(segment)
    for speaker, segments in by_speaker.items():
        prefix = _prefix(speaker, layout)
        pairs = zip(segments, [*segments[1:], None], strict=True)
        atoms = _in_order([atom for segment, after in pairs for atom in _atoms(segment, after, layout)])
        for run in _runs(atoms, layout.pause_seconds):
            units = [unit for group in run for unit in _units(group, layout.max_line_width - width(prefix))]
            found.append(Stretch(units=tuple(units), speaker=speaker, prefix=prefix))
    return found


def _prefix(speaker: str | None, layout: SubtitleLayout) -> str:
    """``left: ``, unless it would take more than half of the line."""
    name = " ".join(clean(speaker or "").split())
    prefix = f"{name}: " if name and layout.speaker_prefix else ""
    return prefix if width(prefix) * 2 <= layout.max_line_width else ""


def _atoms(segment: Segment, after: Segment | None, layout: SubtitleLayout) -> list[_Atom]:
    """The words of a segment, with their own times or with shares of the segment's, up to the one ``after``."""
    text = clean(segment.text)
    atoms = _from_words(segment.words or (), text)
    if atoms is None:
        start, end = max(0.0, finite(segment.start)), finite(segment.end)
        if after is not None and finite(after.start) > start:
            end = min(end, finite(after.start))
        spoken = min(end - start, max(layout.max_cue_seconds, width(text) * SLOWEST_SPEECH))
        atoms = _spread(list(words(text)), start, start + spoken, timed=False)
    if atoms:
        atoms[0].first = True
    return atoms


def _from_words(heard: Sequence[Word], text: str) -> list[_Atom] | None:
    """One atom for each word, spaced as ``text`` is; None when the words do not make up the text."""
    atoms: list[_Atom] = []
    at = 0
    for word in heard:
        letters = "".join(clean(word.word).split())
        if not letters:
            continue
        begin = _skip_space(text, at)
        spaced, at = begin > at, begin
        for letter in letters:
            at = _skip_space(text, at)
            if text[at : at + 1] != letter:
                return None
            at += 1
        pieces = [(piece, index > 0 or spaced) for index, piece in enumerate(text[begin:at].split())]
        atoms += _spread(pieces, finite(word.start), finite(word.end), timed=True)
    return None if text[at:].strip() else atoms


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _spread(pieces: Sequence[tuple[str, bool]], start: float, end: float, *, timed: bool) -> list[_Atom]:
    """Pieces with times in proportion to their widths."""
    columns = [max(1, width(text)) for text, _ in pieces]
    rate = max(0.0, end - start) / max(1, sum(columns))
    atoms: list[_Atom] = []
    done = 0
    for (text, spaced), wide in zip(pieces, columns, strict=True):
        begin, done = start + done * rate, done + wide
        atoms.append(_Atom(text=text, start=begin, end=start + done * rate, spaced=spaced, timed=timed))
    return atoms


def _in_order(atoms: list[_Atom]) -> list[_Atom]:
    """Repair the times: starts never fall, ends never lie before starts nor after the next start."""
    reached = 0.0
    for atom in atoms:
        atom.start = reached = max(reached, atom.start)
        atom.end = max(atom.start, atom.end)
    for atom, after in pairwise(atoms):
        atom.end = min(atom.end, after.start)
    return atoms


def _runs(atoms: list[_Atom], pause: float) -> list[list[_Group]]:
    """Groups of atoms that belong together, cut where a cue must end."""
    runs: list[list[_Group]] = []
    for atom in atoms:
        group = runs[-1][-1] if runs else None
        if group is None or (atom.first and not (atom.timed and group.atoms[-1].timed)):
            runs.append([_Group([atom])])
            continue
        before = group.atoms[-1]
        if atom.first and not (is_spaceless(before.text[-1]) or is_spaceless(atom.text[0])):
            atom.spaced = True
        kind = break_between(before.text, atom.text, spaced=atom.spaced, tail=group.tail)
        if kind is Break.GLUED:
            group.atoms.append(atom)
            continue
        group.after, group.ends_segment = kind, atom.first
        if atom.start - before.end >= pause:
            runs.append([])
        runs[-1].append(_Group([atom]))
    return runs


def _units(group: _Group, limit: int) -> list[Unit]:
    """One unit, or several when it is wider than a line."""
    head, last = group.atoms[0], group.atoms[-1]
    pieces = fit(group.text, limit)
    spaces = [head.spaced, *(left.endswith(" ") or right.startswith(" ") for left, right in pairwise(pieces))]
    parts = [(piece.strip(), spaced) for piece, spaced in zip(pieces, spaces, strict=True)]
    return [
        Unit(
            text=part.text,
            start=part.start,
            end=part.end,
            spaced=part.spaced,
            columns=width(part.text),
            after=group.after if index == len(pieces) else Break.RUN,
            ends_segment=group.ends_segment and index == len(pieces),
        )
        for index, part in enumerate(_spread(parts, head.start, last.end, timed=True), 1)
    ]
