import re

import pytest
from faster_whisper.tokenizer import _LANGUAGE_CODES

from kikitori.text.languages import LANGUAGE_NAMES, language_name


def test_every_language_of_whisper_has_one_name() -> None:
    assert set(LANGUAGE_NAMES) == set(_LANGUAGE_CODES)
    assert len(set(LANGUAGE_NAMES.values())) == 100
    assert all(re.fullmatch("[a-z ]+", name) for name in LANGUAGE_NAMES.values())


@pytest.mark.parametrize(
    ("code", "name"),
    [("en", "english"), ("ja", "japanese"), ("ko", "korean"), ("yue", "cantonese"), ("", ""), ("tlh", "tlh")],
)
def test_language_name(code: str, name: str) -> None:
    assert language_name(code) == name
