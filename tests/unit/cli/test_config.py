from __future__ import annotations

from pathlib import Path

import pytest

from kikitori.cli.config import load_settings
from kikitori.errors import InvalidInput, InvalidOption
from kikitori.settings import LogFormat


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No ``.env`` here, and whatever a test sets ends with it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KIKITORI_CONFIG", "")
    return tmp_path


def test_flags_win_over_the_environment_over_the_file(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "kikitori.toml").write_text('port = 1\nhost = "127.0.0.2"\nmodel = "tiny"\n')
    (elsewhere / ".env").write_text("KIKITORI_HOST=127.0.0.3\nKIKITORI_MODEL=base\n")
    monkeypatch.setenv("KIKITORI_MODEL", "small")
    settings = load_settings({"config": "kikitori.toml", "log_format": "json"})
    assert (settings.port, settings.host, settings.model) == (1, "127.0.0.3", "small")
    assert settings.log_format is LogFormat.JSON
    assert load_settings({"config": "kikitori.toml", "model": "large"}).model == "large"


def test_text_becomes_what_the_setting_is() -> None:
    settings = load_settings(
        {
            "port": "0",
            "model_aliases": '{"whisper-1": "small"}',
            "device_index": "0,1",
            "cors_origins": '["http://a", "http://b"]',
            "insecure": True,
            "data_dir": "here",
        }
    )
    assert settings.port == 0
    assert settings.model_aliases == {"whisper-1": "small"}
    assert settings.device_index == [0, 1]
    assert settings.cors_origins == ["http://a", "http://b"]
    assert settings.insecure
    assert settings.data_dir == Path("here").absolute()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"port": "http"}, r"--port \(KIKITORI_PORT\) is 'http'"),
        ({"port": "70000"}, r"--port .*65535"),
        ({"device": "tpu"}, r"--device .*'auto', 'cpu' or 'cuda'"),
        ({"model_aliases": "small"}, r"--model-aliases \(KIKITORI_MODEL_ALIASES\) is 'small': not JSON"),
        ({"allowed_addresses": "home"}, r"--allowed-addresses"),
        ({"cors_origins": "[1,"}, r"settings|--cors-origins"),
    ],
)
def test_a_wrong_value_names_flag_and_variable(values: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        load_settings(values)


def test_a_wrong_variable_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIKITORI_CHUNK_SECONDS", "1")
    with pytest.raises(InvalidInput, match="KIKITORI_CHUNK_SECONDS"):
        load_settings({})
    monkeypatch.delenv("KIKITORI_CHUNK_SECONDS")
    monkeypatch.setenv("KIKITORI_MODEL_ALIASES", "{small")
    with pytest.raises(InvalidInput, match="model_aliases"):
        load_settings({})


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIKITORI_LLM_API_KEY", "hunter2")
    monkeypatch.setenv("KIKITORI_PORT", "x")
    with pytest.raises(InvalidInput) as caught:
        load_settings({})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "port = ", b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_refused(elsewhere: Path, content: str | bytes | None) -> None:
    path = elsewhere / "kikitori.toml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InvalidOption, match="a TOML file"):
        load_settings({"config": str(path)})
