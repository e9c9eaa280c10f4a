import subprocess
import sys
from dataclasses import fields, replace
from importlib.util import find_spec

import pytest

from kikitori.engines import registry
from kikitori.engines.base import EngineConfig, EngineInfo
from kikitori.engines.registry import (
    ENGINES,
    WHISPER_LANGUAGES,
    available,
    check_options,
    engine_info,
    engine_infos,
    engines_that,
    load_engine,
)
from kikitori.errors import NotFound, Unavailable, Unsupported
from kikitori.options import DecodeOptions
from kikitori.types import Task

HEAVY = ("numpy", "ctranslate2", "faster_whisper", "pocketsphinx", "whisper", "torch", "onnxruntime", "av")


def test_the_table_imports_no_engine() -> None:
    code = f"import sys, kikitori.engines.registry; print([name for name in {HEAVY} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


@pytest.mark.parametrize("name", ENGINES)
def test_each_row_leads_to_a_class(name: str) -> None:
    entry = ENGINES[name]
    assert entry.info.name == name
    assert find_spec(entry.module) is not None
    if available(name):
        assert hasattr(__import__(entry.module, fromlist=[entry.class_name]), entry.class_name)


def test_whisper_says_of_itself_what_the_table_says() -> None:
    from kikitori.engines.whisper import INFO

    different = {
        item.name
        for item in fields(EngineInfo)
        if getattr(INFO, item.name) != getattr(engine_info("whisper"), item.name)
    }
    assert different <= {"languages"}  # of the loaded model


def test_whisper_languages_are_those_of_the_library() -> None:
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    assert frozenset(_LANGUAGE_CODES) == WHISPER_LANGUAGES


def test_capabilities_select_engines() -> None:
    assert engines_that(lambda info: info.streaming) == ("pocketsphinx", "openai_realtime", "google")
    assert engines_that(lambda info: info.max_batch_size > 1) == ("whisper",)
    assert set(engines_that(lambda info: True)) == {info.name for info in engine_infos()}


def test_installed_engines_are_named_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: object() if name == "whisper" else None)
    assert engines_that(lambda info: Task.TRANSLATE in info.tasks) == ("openai_whisper", "whisper", "openai")


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(Unavailable) as caught:
        load_engine("openai_whisper", EngineConfig())
    assert caught.value.remedy == "Install it: pip install 'kikitori[openai-whisper]'"


@pytest.mark.parametrize("use", [engine_info, available, lambda name: load_engine(name, EngineConfig())])
def test_an_unknown_engine_is_not_found(use: object) -> None:
    assert callable(use)
    with pytest.raises(NotFound, match=r"no engine named 'julius'.*pocketsphinx"):
        use("julius")


def test_translation_on_pocketsphinx_names_the_engines_that_can() -> None:
    with pytest.raises(Unsupported) as caught:
        check_options(engine_info("pocketsphinx"), DecodeOptions(task=Task.TRANSLATE))
    assert caught.value.param == "task"
    assert set(caught.value.engines) == {"whisper", "openai_whisper", "openai"}
    assert "cannot translate" in caught.value.message


def test_a_language_the_engine_does_not_know() -> None:
    with pytest.raises(Unsupported) as caught:
        check_options(engine_info("pocketsphinx"), DecodeOptions(language="ja"))
    assert caught.value.param == "language"
    assert "PocketSphinx" in caught.value.message
    assert set(caught.value.engines) == {"whisper", "openai_whisper", "openai", "openai_realtime", "google"}


def test_an_english_model_sends_to_another_model_of_its_engine() -> None:
    english_only = replace(engine_info("whisper"), languages=frozenset({"en"}))
    with pytest.raises(Unsupported, match="The model does not know the language 'fr'") as caught:
        check_options(english_only, DecodeOptions(language="fr"))
    assert "whisper" in caught.value.engines


def test_a_language_nobody_knows() -> None:
    with pytest.raises(Unsupported) as caught:
        check_options(engine_info("whisper"), DecodeOptions(language="zz"))
    assert caught.value.engines == ("openai", "openai_realtime", "google"), "remote ones may know it"


def test_hints_an_engine_has_no_use_for_are_no_error() -> None:
    hints = DecodeOptions(initial_prompt="names", hotwords="Kikitori", beam_size=1, multilingual=True, language="en")
    check_options(engine_info("pocketsphinx"), hints)
    check_options(replace(engine_info("whisper"), languages=None), DecodeOptions(language="zz"))
