"""What speaks, and whether it does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kikitori.cli.checks.lines import Line, State

if TYPE_CHECKING:
    from kikitori.settings import Settings

WORD = "one"


def check_speech(settings: Settings) -> Iterator[Line]:
    """Says a word, except through an endpoint elsewhere."""
    import asyncio

    from kikitori.errors import KikitoriError
    from kikitori.services.making import plan_speech
    from kikitori.tts.desk import SpeechDesk

    desk = SpeechDesk(plan_speech(settings))
    if not desk.speaks:
        off = settings.tts_engine == "none"
        remedy = "" if off else "pip install espeakng-loader, or set KIKITORI_TTS_URL."
        yield Line(name="speech", state=State.OFF, detail="Nothing speaks here.", remedy=remedy)
        return
    if desk.info.name == "openai":
        yield Line(name="speech", state=State.OK, detail="Through KIKITORI_TTS_URL; not asked.")
        return

    async def say() -> float:
        try:
            return sum([sound.seconds async for sound in desk.speak(WORD)])
        finally:
            await desk.close()

    try:
        seconds = asyncio.run(say())
    except KikitoriError as exc:
        yield Line(name="speech", state=State.FAIL, detail=exc.message, remedy=exc.remedy)
        return
    yield Line(name="speech", state=State.OK, detail=f"{desk.info.title} speaks: {WORD!r} takes {seconds:.1f} s.")
