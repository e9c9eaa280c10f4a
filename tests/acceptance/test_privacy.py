"""What was said stays with the caller."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.servers import running_server

if TYPE_CHECKING:
    from tests.conftest import Sample


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_the_log_holds_no_text_no_prompt_and_no_file_name(
    tmp_path: Path, mini_model: Path, samples: Mapping[str, Sample], log_format: str
) -> None:
    sample = samples["en_01"]
    with running_server(tmp_path / "data", model=str(mini_model), log_format=log_format) as server:
        secrets = {"initial_prompt": "Mister Zebedee", "hotwords": "quicksilver", "language": "en"}
        file = ("confidential-merger.wav", sample.path.read_bytes())
        for fields in (secrets, secrets | {"stream": "true"}, secrets | {"beam_size": "0"}):
            httpx.post(f"{server.url}/v1/audio/transcriptions", files={"file": file}, data=fields, timeout=60)
    log = server.log.read_text()
    assert "transcribed" in log
    for secret in (sample.text, "Friday", "Zebedee", "quicksilver", "confidential-merger"):
        assert secret not in log
    assert [path for path in server.data_dir.rglob("*") if path.is_file() and "confidential" in path.name] == []
