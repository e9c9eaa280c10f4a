"""What HTTP, uploads, decoding and scheduling add to the engine itself."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import httpx
from faster_whisper import WhisperModel

from benchmarks import machine, servers
from benchmarks.audio import write_wav
from benchmarks.report import Table
from benchmarks.setup import Setup
from benchmarks.timing import alternate, median_ratio
from kikitori.settings import Settings

SECONDS = 80.0
DIRECT = "WhisperModel.transcribe, called directly"
USUAL = "the same with the library's own number of threads"


def measure(setup: Setup) -> Table:
    """One file: the library's own call against the same work through the server in the same process."""
    with tempfile.TemporaryDirectory() as folder:
        recording = write_wav(Path(folder) / "recording.wav", SECONDS)
        settings = Settings(
            model=setup.model, device=setup.device, data_dir=Path(folder) / "data", port=servers.free_port()
        )
        library = WhisperModel(setup.model, device=setup.device, cpu_threads=setup.threads)
        usual = WhisperModel(setup.model, device=setup.device)
        content = recording.read_bytes()
        with servers.in_this_process(settings) as address, httpx.Client(base_url=address, timeout=600) as client:

            def direct(model: WhisperModel) -> None:
                for _ in model.transcribe(str(recording), language="en")[0]:
                    pass

            def over_http(mode: str) -> None:
                answer = client.post(
                    "/v1/audio/transcriptions",
                    files={"file": ("recording.wav", content)},
                    data={"language": "en", "mode": mode},
                )
                answer.raise_for_status()

            seconds = alternate(
                {
                    DIRECT: lambda: direct(library),
                    USUAL: lambda: direct(usual),
                    "HTTP, sequential (the same decoding)": lambda: over_http("sequential"),
                    "HTTP, windowed (the default)": lambda: over_http("windowed"),
                },
                rounds=setup.rounds,
            )
    rows = [
        (name, f"{statistics.median(values):.3f}", f"{median_ratio(values, seconds[DIRECT]):.3f}")
        for name, values in seconds.items()
    ]
    return Table(
        name="overhead",
        title=f"One file of {SECONDS:.0f} s through HTTP",
        command="python -m benchmarks overhead",
        machine=machine.describe(setup.model_name, setup.device),
        columns=("way", "median seconds", "ratio to direct"),
        rows=rows,
        notes=[
            f"Median of {setup.rounds} rounds, the ways in turn; {setup.threads} thread(s) a call on the CPU where "
            "nothing else is said, as the server chooses. Below 1 is faster than the library's own call."
        ],
    )
