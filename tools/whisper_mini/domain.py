"""The closed domain: one grammar of household, telephone and calendar sentences in English, Japanese and Korean.

A sentence is a plan (a template's name and its choices). ``units(plan, language)`` writes it out, word by word, with
what espeak-ng is to read for each word: kana for Japanese.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

LANGUAGES = ("en", "ja", "ko")
Plan = tuple[Any, ...]


class Noun(NamedTuple):
    en: str
    ja: str
    kana: str
    ko: str


class Piece(NamedTuple):
    """What is written, and what is spoken for it."""

    written: str
    spoken: str


class Unit(NamedTuple):
    """A word in its sentence; ``start`` and ``end`` are places in the text."""

    written: str
    spoken: str
    start: int
    end: int


class Sentence(NamedTuple):
    en: str
    ja: list[Piece]
    ko: str


DIGITS_EN = "zero one two three four five six seven eight nine".split()
DIGITS_JA = [
    Piece(*pair.split("/"))
    for pair in "零/れい 一/いち 二/に 三/さん 四/よん 五/ご 六/ろく 七/なな 八/はち 九/きゅう".split()
]
DIGITS_KO = "영 일 이 삼 사 오 육 칠 팔 구".split()
HOURS_JA = ["", "いち", "に", "さん", "よ", "ご", "ろく", "しち", "はち", "く"]
HOURS_KO = ["", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉"]


def _nouns(text: str) -> list[Noun]:
    return [Noun(*line.split("/")) for line in text.split("\n")]


OPENABLE = _nouns("door/ドア/ドア/문\nwindow/窓/まど/창문\ngate/門/もん/대문\nbox/箱/はこ/상자\nbook/本/ほん/책")
SWITCHABLE = _nouns(
    "light/電気/でんき/불\nradio/ラジオ/ラジオ/라디오\ntelevision/テレビ/テレビ/텔레비전\nmusic/音楽/おんがく/음악\n"
    "fan/扇風機/せんぷうき/선풍기"
)
ROOMS = _nouns(
    "kitchen/台所/だいどころ/부엌\nbedroom/寝室/しんしつ/침실\ngarden/庭/にわ/정원\noffice/事務所/じむしょ/사무실"
)
PEOPLE = _nouns(
    "my mother/母/はは/어머니\nmy father/父/ちち/아버지\nmy brother/兄/あに/형\nthe doctor/医者/いしゃ/의사\n"
    "the teacher/先生/せんせい/선생님"
)
PLACES = _nouns(
    "station/駅/えき/역\nhotel/ホテル/ホテル/호텔\nhospital/病院/びょういん/병원\nschool/学校/がっこう/학교\n"
    "bank/銀行/ぎんこう/은행"
)
FOODS = _nouns(
    "coffee/コーヒー/コーヒー/커피\ntea/お茶/おちゃ/차\nwater/水/みず/물\nmilk/牛乳/ぎゅうにゅう/우유\n"
    "bread/パン/パン/빵\nrice/ご飯/ごはん/밥"
)
DAYS = _nouns(
    "Monday/月曜日/げつようび/월요일\nTuesday/火曜日/かようび/화요일\nWednesday/水曜日/すいようび/수요일\n"
    "Thursday/木曜日/もくようび/목요일\nFriday/金曜日/きんようび/금요일\nSaturday/土曜日/どようび/토요일\n"
    "Sunday/日曜日/にちようび/일요일"
)
WHEN = _nouns("today/今日/きょう/오늘\ntomorrow/明日/あした/내일")
WARMTH = _nouns("cold/寒い/さむい/추워요\nhot/暑い/あつい/더워요")
QUALITY = _nouns("good/いい/いい/좋아요\nbad/悪い/わるい/나빠요")

WA, WO, HE = Piece("は", "わ"), Piece("を", "お"), Piece("へ", "え")


def _pieces(*items: str | Noun | Piece) -> list[Piece]:
    """Nouns as Japanese writes and speaks them; plain text is spoken as written."""
    made = []
    for item in items:
        if isinstance(item, Noun):
            made.append(Piece(item.ja, item.kana))
        else:
            made.append(Piece(item, item) if isinstance(item, str) else item)
    return made


FIXED = [
    Sentence("Good morning.", _pieces("おはよう", "ございます"), "좋은 아침입니다."),
    Sentence("Thank you very much.", _pieces("ありがとう", "ございます"), "대단히 감사합니다."),
    Sentence(
        "See you tomorrow.",
        _pieces("また", Piece("明日", "あした"), Piece("会いましょう", "あいましょう")),
        "내일 만나요.",
    ),
    Sentence(
        "Please wait a moment.",
        _pieces(Piece("少し", "すこし"), Piece("待って", "まって"), "ください"),
        "잠깐 기다려 주세요.",
    ),
    Sentence("I am sorry.", _pieces("すみません"), "정말 미안합니다."),
    Sentence("Nice to meet you.", _pieces("はじめまして"), "만나서 반갑습니다."),
]


def _with(word: str, after_consonant: str, after_vowel: str) -> str:
    """A Korean word with the particle that fits its last syllable."""
    ends_in_consonant = (ord(word[-1]) - 0xAC00) % 28 != 0
    return word + (after_consonant if ends_in_consonant else after_vowel)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _words(digits: Sequence[int], names: Sequence[str]) -> str:
    return " ".join(names[digit] for digit in digits)


def _said(digits: Sequence[int]) -> list[Piece]:
    return [DIGITS_JA[digit] for digit in digits]


# Templates: the choices of a plan → the sentence in all languages. -1 leaves a part out. ---------------------------


def _open(thing: int, close: int) -> Sentence:
    noun = OPENABLE[thing]
    verb = (Piece("開けて", "あけて"), Piece("閉めて", "しめて"))[close]
    return Sentence(
        f"{('Open', 'Close')[close]} the {noun.en}.",
        _pieces(noun, WO, verb, "ください"),
        f"{_with(noun.ko, '을', '를')} {('열어', '닫아')[close]} 주세요.",
    )


def _turn(thing: int, off: int, room: int) -> Sentence:
    noun, place = SWITCHABLE[thing], ROOMS[room] if room >= 0 else None
    verb = (Piece("つけて", "つけて"), Piece("消して", "けして"))[off]
    return Sentence(
        f"Turn {('on', 'off')[off]} the {noun.en}{f' in the {place.en}' if place else ''}.",
        _pieces(*((place, "の") if place else ()), noun, WO, verb, "ください"),
        f"{f'{place.ko} ' if place else ''}{_with(noun.ko, '을', '를')} {('켜', '꺼')[off]} 주세요.",
    )


def _call(person: int, digits: Sequence[int]) -> Sentence:
    noun = PEOPLE[person]
    number_ja = [*_said(digits), Piece("番", "ばん"), Piece("で", "で")] if digits else []
    return Sentence(
        f"Call {noun.en}{f' at {_words(digits, DIGITS_EN)}' if digits else ''}.",
        _pieces(noun, "に", *number_ja, Piece("電話して", "でんわして"), "ください"),
        f"{noun.ko}에게 {f'{_words(digits, DIGITS_KO)} 번으로 ' if digits else ''}전화해 주세요.",
    )


def _number(digits: Sequence[int]) -> Sentence:
    return Sentence(
        f"The number is {_words(digits, DIGITS_EN)}.",
        _pieces(Piece("番号", "ばんごう"), WA, *_said(digits), "です"),
        f"번호는 {_words(digits, DIGITS_KO)} 입니다.",
    )


def _digits(digits: Sequence[int]) -> Sentence:
    return Sentence(_capital(_words(digits, DIGITS_EN)) + ".", _pieces(*_said(digits)), _words(digits, DIGITS_KO) + ".")


def _where(place: int) -> Sentence:
    noun = PLACES[place]
    return Sentence(
        f"Where is the {noun.en}?", _pieces(noun, WA, "どこ", "ですか"), f"{_with(noun.ko, '은', '는')} 어디입니까?"
    )


def _want(first: int, second: int) -> Sentence:
    one, two = FOODS[first], FOODS[second] if second >= 0 else None
    return Sentence(
        f"I would like {one.en}{f' and {two.en}' if two else ''}.",
        _pieces(one, *(("と", two) if two else ()), WO, "ください"),
        f"{one.ko}{f'하고 {two.ko}' if two else ''} 주세요.",
    )


def _day(when: int, day: int) -> Sentence:
    noun, name = WHEN[when], DAYS[day]
    return Sentence(
        f"{_capital(noun.en)} is {name.en}.",
        _pieces(noun, WA, name, "です"),
        f"{_with(noun.ko, '은', '는')} {name.ko}입니다.",
    )


def _cold(warmth: int, when: int) -> Sentence:
    how, noun = WARMTH[warmth], WHEN[when]
    return Sentence(
        f"It is {how.en} {noun.en}.", _pieces(noun, WA, how, "です"), f"{_with(noun.ko, '은', '는')} {how.ko}."
    )


def _weather(quality: int, when: int) -> Sentence:
    how, noun = QUALITY[quality], WHEN[when]
    return Sentence(
        f"The weather is {how.en} {noun.en}.",
        _pieces(noun, "の", Piece("天気", "てんき"), WA, how, "です"),
        f"{noun.ko} 날씨는 {how.ko}.",
    )


def _go(person: int, place: int, day: int) -> Sentence:
    noun, to, on = PEOPLE[person], PLACES[place], DAYS[day] if day >= 0 else None
    return Sentence(
        f"{_capital(noun.en)} goes to the {to.en}{f' on {on.en}' if on else ''}.",
        _pieces(noun, WA, *((on, "に") if on else ()), to, HE, Piece("行きます", "いきます")),
        f"{_with(noun.ko, '은', '는')} {f'{on.ko}에 ' if on else ''}{to.ko}에 갑니다.",
    )


def _is_in(person: int, room: int) -> Sentence:
    noun, place = PEOPLE[person], ROOMS[room]
    return Sentence(
        f"{_capital(noun.en)} is in the {place.en}.",
        _pieces(noun, WA, place, "に", "います"),
        f"{_with(noun.ko, '은', '는')} {place.ko}에 있습니다.",
    )


def _meet(hour: int, day: int) -> Sentence:
    on = DAYS[day] if day >= 0 else None
    clock = Piece(DIGITS_JA[hour].written + "時", HOURS_JA[hour] + "じ")
    return Sentence(
        f"The meeting starts at {DIGITS_EN[hour]} o'clock{f' on {on.en}' if on else ''}.",
        _pieces(
            Piece("会議", "かいぎ"), WA, *((on, "の") if on else ()), clock, "に", Piece("始まります", "はじまります")
        ),
        f"회의는 {f'{on.ko} ' if on else ''}{HOURS_KO[hour]} 시에 시작합니다.",
    )


def _like(person: int, food: int) -> Sentence:
    noun, what = PEOPLE[person], FOODS[food]
    return Sentence(
        f"{_capital(noun.en)} likes {what.en}.",
        _pieces(noun, WA, what, "が", Piece("好き", "すき"), "です"),
        f"{_with(noun.ko, '은', '는')} {_with(what.ko, '을', '를')} 좋아합니다.",
    )


def _send(person: int) -> Sentence:
    noun = PEOPLE[person]
    return Sentence(
        f"Send a message to {noun.en}.",
        _pieces(noun, "に", "メッセージ", WO, Piece("送って", "おくって"), "ください"),
        f"{noun.ko}에게 메시지를 보내 주세요.",
    )


TEMPLATES: dict[str, Callable[..., Sentence]] = {
    "open": _open,
    "turn": _turn,
    "call": _call,
    "num": _number,
    "digits": _digits,
    "where": _where,
    "want": _want,
    "day": _day,
    "cold": _cold,
    "weather": _weather,
    "go": _go,
    "isin": _is_in,
    "meet": _meet,
    "like": _like,
    "send": _send,
    "fixed": FIXED.__getitem__,
}


def units(plan: Plan, language: str) -> tuple[str, list[Unit]]:
    """The text, and its words. English and Korean begin with the space that Whisper puts there."""
    sentence = TEMPLATES[plan[0]](*plan[1:])
    if language == "ja":
        last = sentence.ja[-1]
        pieces = [*sentence.ja[:-1], last._replace(written=last.written + "。")]
    else:
        words = (sentence.en if language == "en" else sentence.ko).split()
        pieces = [Piece(f" {word}", word.strip(".,?!")) for word in words]
    text, made = "", []
    for piece in pieces:
        made.append(Unit(*piece, len(text), len(text) + len(piece.written)))
        text += piece.written
    return text, made


# Sampling -----------------------------------------------------------------------------------------------------------

WEIGHTS = {
    "open": 3,
    "turn": 5,
    "call": 5,
    "num": 4,
    "digits": 5,
    "where": 2,
    "want": 4,
    "day": 3,
    "cold": 1.5,
    "weather": 1.5,
    "go": 6,
    "isin": 3,
    "meet": 5,
    "like": 4,
    "send": 2,
    "fixed": 3,
}


def sample(rng: random.Random) -> Plan:
    while True:
        if allowed(plan := _any_plan(rng)):
            return plan


def allowed(plan: Plan) -> bool:
    """Digits come in groups of one to four, none twice in a row: a model this small loses count of more."""
    groups = [choice for choice in plan[1:] if isinstance(choice, tuple)]
    return all(len(group) <= 4 and all(a != b for a, b in pairwise(group)) for group in groups)


def _any_plan(rng: random.Random) -> Plan:
    name = rng.choices([*WEIGHTS], [*WEIGHTS.values()])[0]
    draw = rng.randrange
    some_digits = {"num": lambda: draw(2, 6), "digits": lambda: draw(1, 7)}
    if name in some_digits:
        return (name, tuple(draw(10) for _ in range(some_digits[name]())))
    if name == "call":
        person = draw(5)
        return (name, person, tuple(draw(10) for _ in range(rng.choice([0, 3, 3, 4]))))
    if name == "want":
        first, second = draw(6), draw(-1, 6)
        return (name, first, -1 if second == first else second)
    if name == "turn":
        return (name, draw(5), draw(2), draw(-1, 4))
    if name == "go":
        return (name, draw(5), draw(5), max(-1, draw(-3, 7)))
    if name == "meet":
        return (name, draw(1, 10), max(-1, draw(-3, 7)))
    sizes = {"open": (5, 2), "where": (5,), "day": (2, 7), "cold": (2, 2), "weather": (2, 2)}
    sizes |= {"isin": (5, 4), "like": (5, 6), "send": (5,), "fixed": (len(FIXED),)}
    return (name, *(draw(size) for size in sizes[name]))


def held_out(plan: Plan) -> bool:
    """About one in ten of the plans with many combinations; they are never in the training audio."""
    if plan[0] in ("fixed", "where", "send", "cold", "weather", "open", "day"):
        return False
    if plan[0] == "digits" and len(plan[1]) < 3:
        return False
    return int(hashlib.md5(repr(plan).encode()).hexdigest(), 16) % 10 == 0
