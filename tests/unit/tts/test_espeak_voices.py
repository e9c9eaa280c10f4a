"""Which voice of eSpeak NG reads what."""

from __future__ import annotations

from pathlib import Path

import pytest

from kikitori.errors import InvalidOption
from kikitori.tts.espeak_voices import OPENAI_VOICES, EspeakLanguage, EspeakVoices, read_voices

CODES = "en-us en-gb de fr-fr fr-be pt pt-br ja ko cmn yue ru uk ar el nb".split()
VOICES = EspeakVoices(
    {code: EspeakLanguage(code, f"x/{code}") for code in CODES},
    frozenset(filter(None, [*OPENAI_VOICES.values(), "whisper"])),
)


@pytest.mark.parametrize(
    ("text", "language", "code"),
    [
        ("Hello", "", "en-us"),
        ("Hello", "en", "en-us"),
        ("Hello", "en-GB", "en-gb"),
        ("Guten Tag", "de", "de"),
        ("Guten Tag", "de-AT", "de"),
        ("Bonjour", "fr", "fr-fr"),
        ("Olá", "pt-BR", "pt-br"),
        ("Hei", "no", "nb"),
        ("Hello", "ja", "en-us"),  # not what Japanese is written in
        ("こんにちは", "", "ja"),
        ("今日はAIの話です", "en", "ja"),
        ("안녕하세요", "en", "ko"),
        ("你好", "en", "cmn"),
        ("你好", "yue", "yue"),
        ("漢字", "ja", "ja"),
        ("Привет", "", "ru"),
        ("Привіт", "uk", "uk"),
        ("Καλημέρα", "de", "el"),
        ("3.14", "", "en-us"),
        ("Hello", "xx", "en-us"),
    ],
)
def test_the_letters_decide_and_then_the_language(text: str, language: str, code: str) -> None:
    assert VOICES.chosen("", language=language, text=text) == f"x/{code}"


@pytest.mark.parametrize(
    ("voice", "chosen"),
    [("alloy", "en-us"), ("Nova", "en-us+f3"), ("de", "de"), ("DE+f2", "de+f2"), ("en", "en-us"), ("fr", "fr-fr")],
)
def test_voices_have_openais_names_and_their_own(voice: str, chosen: str) -> None:
    assert VOICES.chosen(voice, language="", text="Hello") == f"x/{chosen}"


@pytest.mark.parametrize("voice", ["bogus", "de+bogus", "+f2", "../../etc", "-de", " + "])
def test_a_voice_that_is_not_there_is_named(voice: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        VOICES.chosen(voice, language="", text="Hello")
    assert caught.value.param == "voice"
    assert "alloy" in str(caught.value)


def test_voices_are_read_from_the_files_of_an_installation(tmp_path: Path) -> None:
    variants, germanic = tmp_path / "voices" / "!v", tmp_path / "lang" / "gmw"
    variants.mkdir(parents=True)
    germanic.mkdir(parents=True)
    (variants / "f2").write_text("language variant\nname female2\n")
    (germanic / "en-US").write_text("name English (America) // the usual one\nlanguage en-us 2\nlanguage en 3\n")
    (germanic / "broken").write_bytes(b"\xff\xfe")
    voices = read_voices(tmp_path)
    assert voices == EspeakVoices({"en-us": EspeakLanguage("English (America)", "gmw/en-US")}, frozenset({"f2"}))
    assert [voice.name for voice in voices.listed()] == [*OPENAI_VOICES, "en-us"]


def test_a_folder_without_voices_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "voices" / "!v").mkdir(parents=True)
    with pytest.raises(OSError, match="no languages"):
        read_voices(tmp_path)
