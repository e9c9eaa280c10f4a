"""Paths through the attention, as (token, time) pairs; a time is 20 ms, two frames."""

from dataclasses import dataclass, field

import pytest

from kikitori.engines.whisper_alignment import MendedAlignment, with_times

FRAMES, ROOM = 100, 3_000
GOOD = [(0, 0), (0, 1), (1, 2), (2, 20), (3, 30)]
COLLAPSED = [(0, 0), (1, 0), (2, 0), (3, 0), (3, 1), (3, 50)]
LATER = [(0, 0), (0, 9), (1, 10), (2, 30), (3, 70), (3, 200)]
PROBABILITIES = [0.9, 0.8, 0.7]


@dataclass
class Aligner:
    """Finds the paths it was given, in turn."""

    paths: list[list[tuple[int, int]]]
    asked: list[int] = field(default_factory=list)

    def __call__(self, frames: int) -> MendedAlignment:
        self.asked.append(frames)
        return MendedAlignment(alignments=self.paths[len(self.asked) - 1], text_token_probs=PROBABILITIES)


def mended(*paths: list[tuple[int, int]], frames: int = FRAMES, room: int = ROOM) -> tuple[Aligner, MendedAlignment]:
    aligner = Aligner(list(paths))
    found = with_times(aligner, tokens=3, frames=frames, room=room)
    assert isinstance(found, MendedAlignment)
    return aligner, found


def test_a_path_that_takes_time_stays() -> None:
    aligner, found = mended(GOOD)
    assert (aligner.asked, found.alignments) == ([FRAMES], GOOD)


def test_a_path_without_time_is_sought_once_more_with_room_after_the_audio() -> None:
    aligner, found = mended(COLLAPSED, LATER)
    assert aligner.asked == [FRAMES, FRAMES + 300]
    assert found.alignments == [(0, 0), (0, 9), (1, 10), (2, 30), (3, 50), (3, 50)], "no time is after the audio"
    assert found.text_token_probs == PROBABILITIES


@pytest.mark.parametrize("second", [COLLAPSED, [(0, 60), (1, 70), (2, 80), (3, 90)], [(0, 0)]])
def test_words_without_times_share_the_audio(second: list[tuple[int, int]]) -> None:
    _, found = mended(COLLAPSED, second)
    assert found.alignments == [(0, 0), (1, 16), (2, 33), (3, 50)]


def test_there_is_no_room_after_a_full_window() -> None:
    aligner, found = mended(COLLAPSED, frames=ROOM)
    assert aligner.asked == [ROOM]
    assert found.alignments == [(0, 0), (1, 500), (2, 1_000), (3, 1_500)]


def test_no_text_needs_no_time() -> None:
    aligner = Aligner([[(0, 0)]])
    assert with_times(aligner, tokens=0, frames=FRAMES, room=ROOM).alignments == [(0, 0)]
