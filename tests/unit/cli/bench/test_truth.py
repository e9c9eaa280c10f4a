from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kikitori.audio.pcm import to_wav_bytes
from kikitori.cli.bench.truth import Sentence, TrueWord, compose, read_sentences
from kikitori.errors import InvalidInput
from kikitori.types import SAMPLE_RATE


def sentence(word: str, *, seconds: float = 2.0, start: float = 0.5, end: float = 1.5, level: float = 0.5) -> Sentence:
    audio = np.full(round(seconds * SAMPLE_RATE), level, np.float32)
    return Sentence(audio=audio, words=(TrueWord(word=word, start=start, end=end),))


def test_recordings_are_cut_between_their_sentences(tmp_path: Path) -> None:
    (tmp_path / "two.wav").write_bytes(to_wav_bytes(np.zeros(6 * SAMPLE_RATE, np.float32)))
    words = [
        [{"word": "one", "start": 1.0, "end": 2.0}],
        [{"word": "two", "start": 2.4, "end": 3.0}, {"word": "three", "start": 3.0, "end": 5.5}],
    ]
    file = tmp_path / "truth.json"
    file.write_text(
        json.dumps([{"file": "two.wav", "language": "en", "segments": [{"words": each} for each in words]}])
    )
    first, second = read_sentences(file, "en")
    assert len(first.audio) / SAMPLE_RATE == pytest.approx(1.5, abs=0.01)
    assert [(word.word, round(word.start, 2), round(word.end, 2)) for word in first.words] == [("one", 0.3, 1.3)]
    assert len(second.audio) / SAMPLE_RATE == pytest.approx(3.6, abs=0.01)
    assert [round(word.start, 2) for word in second.words] == [0.2, 0.8]
    assert second.spoken_seconds == pytest.approx(3.1)


@pytest.mark.parametrize(
    ("content", "about"),
    [
        ("", "not what it should be"),
        ('[{"language": "en"}]', "not what it should be"),
        ("[]", "nothing in the language"),
    ],
)
def test_a_truth_that_cannot_be_read_is_refused(tmp_path: Path, content: str, about: str) -> None:
    file = tmp_path / "truth.json"
    file.write_text(content)
    with pytest.raises(InvalidInput, match=about):
        read_sentences(file, "en")


def test_a_truth_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nothing\.json cannot be read"):
        read_sentences(tmp_path / "nothing.json", "en")


def test_the_samples_of_the_repository_can_be_spoken() -> None:
    for language in ("en", "ja", "ko"):
        found = read_sentences(Path("tests/data/whisper-mini/samples/samples.json"), language)
        assert len(found) > 5
        assert all(word.end * SAMPLE_RATE <= len(each.audio) for each in found for word in each.words)


def test_speech_has_the_pauses_that_the_duty_asks_for() -> None:
    speech = compose([sentence("a"), sentence("b")], client=0, seconds=10.0, duty=0.25, language="en")
    assert [(word.word, word.start) for word in speech.words] == [("a", 0.5), ("b", 4.5)]
    assert len(speech.audio) == 8 * SAMPLE_RATE
    assert speech.audio[2 * SAMPLE_RATE] == 0.0


def test_speech_without_pauses_is_as_it_was_spoken() -> None:
    speech = compose([sentence("a"), sentence("b")], client=0, seconds=6.5, duty=1.0, language="en")
    assert [(word.word, word.start) for word in speech.words] == [("a", 0.5), ("b", 2.5), ("a", 4.5)]


def test_even_the_shortest_speech_says_something() -> None:
    assert compose([sentence("a")], client=0, seconds=0.1, duty=0.5, language="en").words


def test_clients_begin_somewhere_else() -> None:
    sentences = [sentence(str(number)) for number in range(20)]
    firsts = [
        compose(sentences, client=client, seconds=4.0, duty=1.0, language="en").words[0].word for client in range(8)
    ]
    assert len(set(firsts)) >= 7
