"""What is measured with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kikitori.inference.placement import share_cores

MINI = Path(__file__).parents[1] / "tests" / "data" / "whisper-mini" / "model"


_CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The model, the device and how often."""

    model: str = str(MINI)
    device: str = "cpu"
    rounds: int = 5
    at_once: tuple[int, ...] = (8,)
    """Files decoded at the same time."""

    @property
    def model_name(self) -> str:
        return "whisper-mini (int8)" if self.model == str(MINI) else Path(self.model).name

    @property
    def threads(self) -> int:
        """Threads of one call on a CPU, as the server chooses them."""
        return share_cores(_CORES)[0]

    @property
    def workers(self) -> int:
        """Calls at a time on a CPU, as the server chooses them."""
        return share_cores(_CORES)[1]
