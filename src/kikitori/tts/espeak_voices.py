"""What eSpeak NG can read, and which of its voices stands for the one that was asked for."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kikitori.errors import InvalidOption
from kikitori.tts.speaker import Voice

OPENAI_VOICES: Mapping[str, str] = {
    "alloy": "",
    "ash": "m3",
    "ballad": "m4",
    "cedar": "m7",
    "coral": "f2",
    "echo": "m1",
    "fable": "m5",
    "marin": "f4",
    "nova": "f3",
    "onyx": "m6",
    "sage": "f5",
    "shimmer": "f1",
    "verse": "m2",
}
"""Each reads every language, in a way of speaking (a variant) of its own."""

ENGLISH = "en-us"
_CODES = {"en": ENGLISH, "zh": "cmn", "no": "nb", "nn": "nb", "jw": "jv", "tl": "fil", "iw": "he"}
"""Codes of languages that eSpeak NG calls otherwise."""

_SCRIPTS: Mapping[str, tuple[str, ...]] = {
    "HIRAGANA": ("ja",),
    "KATAKANA": ("ja",),
    "HANGUL": ("ko",),
    "CJK": ("cmn", "ja", "yue", "hak"),
    "CYRILLIC": ("ru", "uk", "bg", "sr", "be", "mk", "kk", "ky", "tt", "ba", "cv", "uz"),
    "ARABIC": ("ar", "fa", "ur", "ug", "sd", "ku"),
    "HEBREW": ("he",),
    "GREEK": ("el", "grc"),
    "DEVANAGARI": ("hi", "mr", "ne", "kok"),
    "BENGALI": ("bn", "as", "bpy"),
    "GURMUKHI": ("pa",),
    "GUJARATI": ("gu",),
    "ORIYA": ("or",),
    "TAMIL": ("ta",),
    "TELUGU": ("te",),
    "KANNADA": ("kn",),
    "MALAYALAM": ("ml",),
    "SINHALA": ("si",),
    "THAI": ("th",),
    "MYANMAR": ("my", "shn"),
    "GEORGIAN": ("ka",),
    "ARMENIAN": ("hy", "hyw"),
    "ETHIOPIC": ("am", "ti"),
}
"""Which languages are written so, by the first word of a letter's name in Unicode; the first is the usual one."""


@dataclass(frozen=True, slots=True)
class EspeakLanguage:
    """One language of an installation."""

    title: str
    """In English."""
    file: str
    """Its voice file, by which alone eSpeak NG finds every one of them: ``gmw/en-US``."""


@dataclass(frozen=True, slots=True)
class EspeakVoices:
    """What one installation of eSpeak NG has."""

    languages: Mapping[str, EspeakLanguage]
    """By code, as ``en-us``."""
    variants: frozenset[str]
    """Ways of speaking, as ``f3``."""

    def listed(self) -> list[Voice]:
        """OpenAI's names, then one voice for each language."""
        every = [Voice(name=name, title=name.capitalize()) for name in OPENAI_VOICES]
        return every + [
            Voice(name=code, languages=(code,), title=language.title)
            for code, language in sorted(self.languages.items())
        ]

    def chosen(self, voice: str, *, language: str, text: str) -> str:
        """What eSpeak NG calls the voice for ``text``. Raises InvalidOption."""
        asked = voice.strip().lower()
        if not asked or asked in OPENAI_VOICES:
            base, variant = self.reading(text, language), OPENAI_VOICES.get(asked, "")
        else:
            base, _, variant = asked.partition("+")
            base = self._known(base) or ""
        if not base or (variant and variant not in self.variants):
            allowed = f"{', '.join(OPENAI_VOICES)}; or a language and a variant of eSpeak NG, as en-gb, de+f3"
            raise InvalidOption("voice", voice, allowed)
        file = self.languages[base].file
        return f"{file}+{variant}" if variant else file

    def reading(self, text: str, language: str) -> str:
        """The language of ``text``: its letters decide, and ``language`` among those that share them."""
        hint = self._known(language.lower()) or ""
        stem = hint.partition("-")[0]
        written = _script_languages(text)
        if written:
            return hint if stem in written else next((code for code in written if code in self.languages), ENGLISH)
        elsewhere = {code for codes in _SCRIPTS.values() for code in codes}
        return hint if hint and stem not in elsewhere else ENGLISH

    def _known(self, code: str) -> str | None:
        code = _CODES.get(code, code)
        if code in self.languages:
            return code
        stem = code.partition("-")[0]
        stem = _CODES.get(stem, stem)
        return next((known for known in self.languages if known in (stem, f"{stem}-{stem}")), None) or next(
            (known for known in self.languages if stem and known.startswith(f"{stem}-")), None
        )


def read_voices(data: Path) -> EspeakVoices:
    """What the data folder of an installation has. Blocking. Raises OSError."""
    languages: dict[str, EspeakLanguage] = {}
    folder = data / "lang"
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            facts = _facts(path)
            for code in facts["language"][:1]:
                title = facts["name"][0] if facts["name"] else code
                language = EspeakLanguage(title, path.relative_to(folder).as_posix())
                languages.setdefault(code.split()[0].lower(), language)
    variants = {path.name for path in (data / "voices" / "!v").iterdir() if path.is_file()}
    if not languages:
        raise OSError(f"{data} has no languages")
    return EspeakVoices(languages, frozenset(variants))


def _facts(path: Path) -> dict[str, list[str]]:
    """The lines ``name …`` and ``language …`` of a voice file."""
    facts: dict[str, list[str]] = {"name": [], "language": []}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        word, _, rest = line.partition("//")[0].strip().partition(" ")
        if word in facts and rest.strip():
            facts[word].append(rest.strip())
    return facts


def _script_languages(text: str) -> tuple[str, ...]:
    """Languages written in the letters that most of ``text`` is made of; none for Latin letters."""
    scripts = Counter(unicodedata.name(char, "").partition(" ")[0] for char in text if char.isalpha())
    if scripts["HIRAGANA"] or scripts["KATAKANA"]:
        return _SCRIPTS["HIRAGANA"]
    known = Counter({name: count for name, count in scripts.items() if name in _SCRIPTS})
    if not known or known.total() < scripts["LATIN"]:
        return ()
    return _SCRIPTS[known.most_common(1)[0][0]]
