"""Parts of the Wyoming side: samples of any kind, sentences as they are written, info without what is not there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest
from wyoming.audio import AudioChunk
from wyoming.event import Event
from wyoming.tts import SynthesizeVoice

from kikitori.errors import InvalidOption
from kikitori.home.describing import describe
from kikitori.home.hearing import mono
from kikitori.home.speaking import LONGEST_TEXT, Speaking
from kikitori.services.parts import Services
from kikitori.tts.speaker import Sound, Speaker


@pytest.mark.parametrize(
    ("audio", "width", "channels", "heard"),
    [
        (np.array([1, -2], "<i2").tobytes(), 2, 1, [1, -2]),
        (np.array([[100, 300], [-4, 4]], "<i2").tobytes(), 2, 2, [200, 0]),
        (bytes([128, 192, 64]), 1, 1, [0, 16_384, -16_384]),
        (b"\x00\x00\x40" + b"\x00\x00\xc0", 3, 1, [16_384, -16_384]),
        (np.array([5, 6, 7], "<i2").tobytes(), 2, 2, [6]),
    ],
)
def test_samples_become_16_bit_mono(audio: bytes, width: int, channels: int, heard: list[int]) -> None:
    chunk = AudioChunk(rate=16_000, width=width, channels=channels, audio=audio)
    assert np.frombuffer(mono(chunk), "<i2").tolist() == pytest.approx(heard, abs=1)


@pytest.mark.parametrize(("width", "channels", "field"), [(4, 1, "width"), (2, 0, "channels"), (2, 9, "channels")])
def test_samples_of_other_kinds_are_refused(width: int, channels: int, field: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        mono(AudioChunk(rate=16_000, width=width, channels=channels, audio=bytes(72)))
    assert refused.value.param == field


class Parrot:
    """Says each text as two pieces of sound."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, str]] = []

    async def speak(
        self, text: str, *, voice: str = "", speed: float = 1.0, language: str = "", instructions: str = ""
    ) -> AsyncGenerator[Sound, None]:
        self.said.append((text, voice, language))
        for _ in range(2):
            yield Sound(pcm=bytes(5_000), rate=16_000)


async def spoken(texts: Sequence[str], voice: SynthesizeVoice | None = None) -> tuple[Parrot, list[Event]]:
    parrot = Parrot()
    speaking = Speaking(cast(Speaker, parrot), voice)
    events = [event for text in texts async for event in speaking.say(text)]
    return parrot, [*events, *[event async for event in speaking.finish()]]


async def test_sentences_are_spoken_as_they_come_and_the_sound_is_one() -> None:
    parrot, events = await spoken(["One. Tw", "o. Thr", "ee"], SynthesizeVoice(name="amy"))
    assert parrot.said == [("One.", "amy", ""), ("Two.", "amy", ""), ("Three", "amy", "")]
    kinds = [event.type for event in events]
    assert (kinds[0], kinds[-1], kinds.count("audio-start")) == ("audio-start", "audio-stop", 1)
    assert sum(len(event.payload or b"") for event in events) == 3 * 2 * 5_000


async def test_nothing_to_say_is_an_empty_sound() -> None:
    parrot, events = await spoken(["… \n"], SynthesizeVoice(language="de"))
    assert parrot.said == []
    assert [event.type for event in events] == ["audio-start", "audio-stop"]


async def test_a_text_without_end_is_refused() -> None:
    with pytest.raises(InvalidOption, match="text"):
        await spoken(["word " * LONGEST_TEXT])


async def test_who_does_not_speak_says_so(make_services: Callable[..., Services]) -> None:
    services = make_services()
    services.live.info = lambda model: services.pool.info(model)  # type: ignore[method-assign, attr-defined]
    info: Any = await describe(services)
    assert info.tts == []
    assert [model.name for model in info.asr[0].models] == ["fake", "hub/fine-tuned"]
