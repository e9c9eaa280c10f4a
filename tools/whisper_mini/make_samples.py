"""Write the samples: held-out recordings, drawn with a fixed seed and not chosen by result.

    python make_samples.py --model OUT/whisper-mini-int8 --out OUT/samples

samples.json says what is said, and what this model hears on this machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from faster_whisper import WhisperModel
from synth import SAMPLE_RATE

from recordings import Recording, Studio, normalised

SINGLE = {"en": 5, "ja": 4, "ko": 4}
LONG = {"en_multi_40s": 15, "en_multi_80s": 30, "ja_multi_35s": 13, "ko_multi_35s": 13}


def facts(name: str, recording: Recording, model: WhisperModel) -> dict[str, Any]:
    heard, _ = model.transcribe(recording.audio, language=recording.language, beam_size=5)
    return {
        "file": f"{name}.wav",
        "language": recording.language,
        "duration": round(recording.seconds, 3),
        "text": recording.text,
        "segments": [
            {
                "start": round(float(said.start), 3),
                "end": round(float(said.end), 3),
                "text": said.text,
                "english": said.english,
                "words": [
                    {"word": word, "start": round(float(start), 3), "end": round(float(end), 3)}
                    for word, start, end in said.words
                ],
            }
            for said in recording.sentences
        ],
        "model_int8_beam5": [{"start": each.start, "end": each.end, "text": each.text} for each in heard],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    model, studio = WhisperModel(asked.model, device="cpu", compute_type="int8"), Studio(2026)
    recordings = {
        f"{language}_{index + 1:02d}": studio.record(language, 1, noisy=index % 2 == 1)
        for language, count in SINGLE.items()
        for index in range(count)
    }
    recordings |= {name: studio.record(name[:2], sentences) for name, sentences in LONG.items()}
    faint = np.round(studio.noise(SAMPLE_RATE * 5, 0.5) * 0.003 * 32767) / 32768
    recordings["silence_5s"] = Recording(language="en", audio=faint.astype(np.float32), sentences=[])
    made = []
    for name, recording in recordings.items():
        soundfile.write(asked.out / f"{name}.wav", recording.audio, SAMPLE_RATE, subtype="PCM_16")
        made.append(facts(name, recording, model))
        heard = "".join(each["text"] for each in made[-1]["model_int8_beam5"])
        right = normalised(heard, recording.language) == normalised(recording.text, recording.language)
        print(f"{name} {recording.seconds:.1f} s {'right' if right else 'not all right'}")
    (asked.out / "samples.json").write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
