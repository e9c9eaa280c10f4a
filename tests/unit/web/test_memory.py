import asyncio
import time

import pytest

from kikitori.testing import until
from kikitori.web import memory


async def test_memory_is_trimmed_only_while_there_is_work(monkeypatch: pytest.MonkeyPatch) -> None:
    trims: list[int] = []
    cpu = [0.0]
    monkeypatch.setattr(memory, "_glibc", lambda name: trims.append)
    monkeypatch.setattr(time, "process_time", lambda: cpu[0])
    async with memory.trimmed_memory(seconds=0.01):
        await asyncio.sleep(0.1)
        assert trims == []
        cpu[0] = 5.0
        await until(lambda: bool(trims))
        await asyncio.sleep(0.1)
    assert trims == [0]
    cpu[0] = 10.0
    await asyncio.sleep(0.1)
    assert trims == [0]


async def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_glibc", lambda name: None)
    memory.return_free_memory()
    async with memory.trimmed_memory():
        pass
