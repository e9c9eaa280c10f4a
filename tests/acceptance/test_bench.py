"""``kikitori bench live`` as it is typed: a server is started, clients speak, numbers come out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_a_run_measures_what_clients_see(mini_model: Path, tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    command = [sys.executable, "-m", "kikitori", "bench", "live", "--sessions", "1,2", "--seconds", "6", "--json"]
    done = subprocess.run(
        [*command, "--model", str(mini_model), "--log", str(log)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert [level["sessions"] for level in found["levels"]] == [1, 2]
    for level in found["levels"]:
        assert level["problems"] == 0
        assert level["final_p50"] > 0
        assert level["changed_finals"] == 0
    assert found["offline_error_rate"] is not None
    again = subprocess.run([*command[:5], "--from-log", str(log), "--json"], capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["levels"] == found["levels"]
