"""All settings, in one place: environment ``KIKITORI_*``, a ``.env`` file, a TOML file, flags.

Later wins: defaults, TOML (``--config``), ``.env``, environment, flags. docs/settings.md is made
from the descriptions here. Only services and the commands read a Settings object.
"""

from __future__ import annotations

import ipaddress
import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

GIB = 1024**3


class LogFormat(StrEnum):
    HUMAN = "human"
    JSON = "json"


def default_data_dir() -> Path:
    """``$XDG_DATA_HOME/kikitori``, by default ``~/.local/share/kikitori``."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "kikitori"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="KIKITORI_", env_file=".env", extra="ignore", env_ignore_empty=True, validate_default=True
    )

    # Server
    host: str = Field("127.0.0.1", description="Address to listen on. Any but loopback needs an API key.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 picks a free one.")
    data_dir: Path = Field(
        default_factory=default_data_dir, description="Everything Kikitori writes lies under this folder."
    )
    insecure: bool = Field(False, description="Listen on any address without a key. Only for closed networks.")
    tls_cert: Path | None = Field(None, description="Certificate chain (PEM): serve HTTPS and WSS.")
    tls_key: Path | None = Field(None, description="Private key (PEM) of `tls_cert`.")
    cors_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="Origins whose pages may call the API: a list, or `*`."
    )
    public_url: str = Field(
        "", description="This server's address as browsers reach it through a reverse proxy; empty: as they ask for it."
    )
    console: bool = Field(False, description="Start the console, a web page for people, beside the server.")
    console_port: int = Field(8501, ge=1, le=65_535, description="Port of the console; its address is the server's.")
    console_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Addresses of other consoles, or of this one behind a reverse proxy, that may show the live page: "
        "a list of origins such as `https://console.example.org`.",
    )
    wyoming_port: int | None = Field(
        None, ge=0, le=65_535, description="Port for Home Assistant (Wyoming), usually 10300; empty: none."
    )
    wyoming_host: str = Field(
        "127.0.0.1",
        description="Address of the Wyoming port. The protocol knows no keys: whoever reaches the port may use it.",
    )
    shutdown_grace_seconds: float = Field(
        30.0, ge=0, le=3_600, description="After SIGTERM, running work may take this long to finish."
    )

    # Models
    model: str = Field(
        "auto",
        description="The default model: `auto`, `pocketsphinx`, a Whisper name (`small`), a hub id or a folder.",
    )
    model_aliases: dict[str, str] = Field(
        default_factory=dict, description='Other names of models, as JSON: `{"whisper-1": "small"}`.'
    )
    preload: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="Models to load and keep from the start; the default model always is."
    )
    offline: bool = Field(False, description="Never ask the model hub.")
    hub_connect_timeout_seconds: float = Field(5.0, gt=0, le=120, description="How long to wait for the model hub.")
    openai_base_url: str = Field(
        "",
        description="OpenAI-compatible transcription endpoint of the models `openai:…`: `https://api.openai.com/v1`.",
    )
    openai_api_key: SecretStr = Field(SecretStr(""), description="Key of the transcription endpoint.")
    openai_models: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Models of the transcription endpoint that clients may name, as a list: `whisper-1` is "
        "`openai:whisper-1` here. The default model and aliases may lead to any.",
    )
    openai_timeout_seconds: float = Field(
        120.0, gt=0, le=3_600, description="How long the transcription endpoint may take for one piece of audio."
    )
    google_project: str = Field("", description="Google Cloud project of the models `google:…`.")
    google_models: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Models of Google Cloud Speech-to-Text v2 that clients may name, as a list: `long` is "
        "`google:long` here. The default model and aliases may lead to any.",
    )
    google_location: str = Field("global", description="Google's region, such as `europe-west4`; `global`: any.")
    google_recognizer: str = Field("_", description="Google's recogniser; `_`: one made from what a request says.")
    google_languages: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="What Google is to listen for where a client does not say, and regions of languages, as a list "
        "such as `en-GB,ja-JP`; `auto` with models that find out. Empty: `en-US`.",
    )
    google_credentials: Path | None = Field(
        None, description="Key file of a service account; empty: the usual credentials of this machine."
    )
    google_endpoint: str = Field("", description="Another address of Google's service: `host:port`.")
    engine_options: dict[str, Any] = Field(
        default_factory=dict, description="Extra constructor arguments of engines, as JSON, by engine name."
    )

    # Devices and batching
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="`auto` uses a GPU when one works, else the CPU, and says which and why."
    )
    device_index: Annotated[list[int], NoDecode] = Field(
        default_factory=list, description="GPUs to use, as a list; empty: all."
    )
    compute_type: str = Field(
        "default",
        description="CTranslate2 type: default, auto, int8, int8_float16, int8_bfloat16, int8_float32, int16, "
        "float16, bfloat16, float32.",
    )
    cpu_threads: int = Field(
        0, ge=0, le=1_024, description="Threads of one decoding call on the CPU; 0: chosen by the number of cores."
    )
    cpu_workers: int = Field(
        0,
        ge=0,
        le=256,
        description="Decoding calls of one model at a time on the CPU, sharing its weights; 0: cores / threads.",
    )
    max_batch_size: int = Field(
        0, ge=0, le=256, description="Most windows decoded in one call; 0: 8 on the CPU, 32 on a GPU."
    )
    max_queue: int = Field(
        200, ge=1, le=100_000, description="Requests that may run or wait for one model; more are told 429."
    )
    model_ttl_seconds: float = Field(
        600.0, description="An idle model is unloaded after this time; -1 never. The default model always stays."
    )
    memory_budget_bytes: int = Field(
        0, ge=0, description="Models together may take this much; the least recently used go first. 0: no limit."
    )

    # Files
    chunk_seconds: float = Field(
        600.0, ge=30, le=3_600, description="Long files are decoded in chunks of at most this, cut at silences."
    )
    max_upload_bytes: int = Field(2 * GIB, ge=1_024, description="Largest upload, and largest file behind a link.")
    max_fetch_seconds: float = Field(3_600.0, gt=0, le=86_400, description="Fetching a link may take this long.")
    max_playlist_entries: int = Field(
        100, ge=1, le=10_000, description="A link to a playlist or a channel becomes at most so many tasks."
    )
    max_audio_seconds: float = Field(
        24 * 3_600.0, gt=0, description="Longest recording; guards against tiny files that decode to days."
    )

    # Keys and limits
    key_concurrency: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Requests one API key (or one address without keys) may run at once; 0: no limit.",
    )

    key_streams: int = Field(
        100,
        ge=0,
        le=100_000,
        description="Event streams of tasks one API key (or one address without keys) may follow at once; 0: no limit.",
    )

    socket_files: int = Field(
        0,
        ge=0,
        le=1_000,
        description="Files over `/ws` that are heard at once, half of them of one key (or address) at most; the others "
        "wait. 0: 8 on the CPU, 16 for each GPU.",
    )

    # Storage
    database_url: str = Field("", description="SQLAlchemy URL of the database; empty: SQLite in the data folder.")
    queue_url: str = Field("", description="Not needed: tasks wait in the database itself, on every kind of it.")
    media_url: str = Field("", description="fsspec URL of the media store; empty: a folder in the data folder.")

    # Tasks
    worker: bool = Field(True, description="This server works on tasks; else it only takes them for other nodes.")
    task_slots: int = Field(
        0, ge=0, le=1_000, description="Tasks a node works on at once; 0: one for each core, or 16 for each GPU."
    )
    max_queued_tasks: int = Field(
        1_000_000, ge=0, description="More waiting tasks than this are refused with 429; 0: no limit."
    )
    keep_media_days: float = Field(
        30.0, ge=0, description="Recordings of tasks are removed so many days after the end; 0: kept."
    )
    keep_tasks_days: float = Field(
        0.0, ge=0, description="Tasks are removed with their text so many days after the end; 0: kept."
    )

    # Live sessions
    live_max_sessions: int = Field(
        0, ge=0, le=100_000, description="Live sessions at a time; 0: as many as the machine bears."
    )
    live_endpoint_ms: int = Field(
        500, ge=100, le=10_000, description="Silence this long ends an utterance, unless the client says otherwise."
    )
    live_prefix_ms: int = Field(400, ge=0, le=5_000, description="Audio kept from before speech was noticed.")
    live_interim_seconds: float = Field(
        0.0,
        ge=0,
        le=10,
        description="New audio between two interim texts, at least; 0: 0.6 s on a GPU, 1 s on a CPU.",
    )
    live_agreement: Literal["fast", "balanced", "strict", "steady"] = Field(
        "balanced", description="How sure interim words must be before they count as stable."
    )
    live_max_utterance_seconds: float = Field(
        20.0, ge=5, le=28, description="Longer speech without a pause is cut into several finals."
    )
    live_carry_context: bool = Field(
        False,
        description="Show the model the text of the utterances before: names stay alike, but it may be led astray.",
    )
    live_audio_context: int = Field(
        0,
        ge=0,
        le=30,
        description="Seconds the encoder looks at for shorter audio; 0: the model's own 30 s. "
        "Less is faster, and only as accurate as the model allows.",
    )
    live_buffer_seconds: float = Field(
        60.0, ge=1, le=3_600, description="When the machine is further behind than this, clients are made to wait."
    )
    live_resume_seconds: float = Field(
        30.0, ge=0, le=3_600, description="A session whose connection was lost can be taken up again for so long."
    )
    live_idle_seconds: float = Field(
        60.0, ge=0, le=86_400, description="Plain sockets without audio are closed after this; 0: never."
    )
    live_max_seconds: float = Field(0.0, ge=0, le=604_800, description="Longest life of a plain socket; 0: no limit.")

    # Outside
    allowed_addresses: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="Private networks (CIDR) that links and callbacks may reach all the same."
    )
    site_cookies: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Cookies of video sites, sent to that site alone, as JSON by host: a cookie file, or "
        '`name=value; name=value`: `{"douyin.com": "/etc/kikitori/douyin.txt"}`.',
    )
    site_proxy: SecretStr = Field(
        SecretStr(""), description="HTTP proxy for video sites: `http://[user:password@]host:port`."
    )
    callback_secret: SecretStr = Field(
        SecretStr(""), description="Signs callbacks (`whsec_…`); made and kept on the first start when empty."
    )
    former_callback_secret: SecretStr = Field(
        SecretStr(""), description="While receivers change over: callbacks are signed with this secret, too."
    )
    callback_attempts: int = Field(
        10, ge=1, le=100, description="How often a callback is tried, over about a day, before it is given up."
    )
    callback_timeout_seconds: float = Field(15.0, gt=0, le=300, description="How long a receiver may take to answer.")
    callback_max_bytes: int = Field(
        256 * 1024, ge=0, description="A longer result is not in the callback itself, which then has a link to it."
    )
    llm_base_url: str = Field("", description="OpenAI-compatible chat endpoint for summaries and chat.")
    llm_api_key: SecretStr = Field(SecretStr(""), description="Key of the chat endpoint.")
    llm_model: str = Field("", description="Model of the chat endpoint.")
    llm_context_tokens: int = Field(
        8_192,
        ge=2_048,
        le=10_000_000,
        description="How much the chat model takes in and gives out at once; longer transcripts are read in parts.",
    )
    llm_timeout_seconds: float = Field(300.0, gt=0, le=3_600, description="How long the chat endpoint may be silent.")
    tts_engine: Literal["auto", "espeak", "openai", "piper", "none"] = Field(
        "auto",
        description="What speaks: `openai` (the endpoint `tts_url`), `piper`, `espeak`; `auto` takes the first of them "
        "that is set up.",
    )
    tts_url: str = Field("", description="OpenAI-compatible speech endpoint for voice replies.")
    tts_api_key: SecretStr = Field(SecretStr(""), description="Key of the speech endpoint.")
    tts_model: str = Field("", description="Model of the speech endpoint; empty: `tts-1`.")
    tts_voice: str = Field("", description="The voice where none is named; empty: the engine's own.")
    tts_voices: dict[str, str] = Field(
        default_factory=dict, description='Other names of voices, as JSON: `{"alloy": "en_US-amy-medium"}`.'
    )
    tts_timeout_seconds: float = Field(
        30.0, gt=0, le=600, description="An engine that speaks may be silent for so long; then it has failed."
    )
    tts_places: int = Field(8, ge=1, le=1_000, description="Texts that are spoken at once; others wait.")
    tts_piper_program: str = Field("piper", description="The program Piper, which is installed separately.")
    tts_piper_voices: Path | None = Field(None, description="Folder of Piper's voices: `NAME.onnx`, `NAME.onnx.json`.")
    events_url: str = Field("", description="Message bus for events.")

    # Logs
    log_format: LogFormat = Field(LogFormat.HUMAN, description="`human` or `json`.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")

    @field_validator(
        "cors_origins",
        "console_origins",
        "preload",
        "openai_models",
        "google_models",
        "google_languages",
        "device_index",
        "allowed_addresses",
        mode="before",
    )
    @classmethod
    def _list_from_text(cls, value: object) -> object:
        """Lists are JSON (``["a", "b"]``) or written with commas (``a,b``)."""
        if not isinstance(value, str):
            return [value] if isinstance(value, int) else value
        if value.strip().startswith("["):
            import json

            return json.loads(value)
        return [part.strip() for part in value.split(",") if part.strip()]

    @field_validator("allowed_addresses")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        for network in value:
            ipaddress.ip_network(network, strict=False)
        return value

    @field_validator("console_origins")
    @classmethod
    def _origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            if not re.fullmatch(r"https?://[\w.\-\[\]:]+", origin):
                raise ValueError(f"{origin!r} is no origin, such as https://console.example.org (without a path)")
        return value

    @field_validator("public_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^\s?#@]+", value):
            raise ValueError("the address of a server, such as https://speech.example.org")
        return value.rstrip("/")

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        toml = TomlConfigSettingsSource(settings_cls, os.environ.get("KIKITORI_CONFIG"))
        return init_settings, env_settings, dotenv_settings, toml

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in use."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir / 'kikitori.db'}"
