"""Make the voice that tests give to Piper: for each phoneme a stretch of one tone.

    pip install onnx, in an environment of its own
    python tools/make_tone_voice.py tests/data/piper

Piper's own voices are large and have licences of their own. The program does not mind: a voice is any ONNX model with
Piper's inputs (phonemes, their count, scales) and output (samples), and a configuration beside it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

SAMPLES_PER_PHONEME, RATE = 1024, 22_050
PITCH_HZ = 220.0
SYMBOLS = "_^$ abcdefghijklmnopqrstuvwxyzæçðøħŋœɡɐɑɒɔəɚɛɜɪɹʃʊʌʒˈˌː.,!?'"


def model() -> onnx.ModelProto:
    """``[1, phonemes]`` in, ``[1, 1, 1, samples]`` out; ``scales[1]`` is the length scale."""

    def number(name: str, value: float) -> onnx.TensorProto:
        return helper.make_tensor(name, TensorProto.FLOAT, [], [value])

    constants = [
        number("zero", 0.0),
        number("one", 1.0),
        number("per_phoneme", SAMPLES_PER_PHONEME),
        number("step", 2 * 3.14159265 * PITCH_HZ / RATE),
        helper.make_tensor("first", TensorProto.INT64, [], [0]),
        helper.make_tensor("second", TensorProto.INT64, [], [1]),
        helper.make_tensor("shape", TensorProto.INT64, [4], [1, 1, 1, -1]),
    ]
    nodes = [
        helper.make_node("Gather", ["scales", "second"], ["length_scale"]),
        helper.make_node("Cast", ["input_lengths"], ["lengths"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["lengths", "first"], ["phonemes"]),
        helper.make_node("Mul", ["phonemes", "per_phoneme"], ["plain"]),
        helper.make_node("Mul", ["plain", "length_scale"], ["samples"]),
        helper.make_node("Range", ["zero", "samples", "one"], ["time"]),
        helper.make_node("Mul", ["time", "step"], ["phase"]),
        helper.make_node("Sin", ["phase"], ["tone"]),
        helper.make_node("Reshape", ["tone", "shape"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tone",
        [
            helper.make_tensor_value_info("input", TensorProto.INT64, [1, "phonemes"]),
            helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
            helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
        ],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 1, "time"])],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def configuration() -> dict[str, object]:
    return {
        "audio": {"sample_rate": RATE, "quality": "x_low"},
        "espeak": {"voice": "en-us"},
        "language": {"code": "en_US"},
        "phoneme_type": "espeak",
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
        "phoneme_map": {},
        "phoneme_id_map": {symbol: [number] for number, symbol in enumerate(SYMBOLS)},
        "num_symbols": len(SYMBOLS),
        "num_speakers": 1,
        "speaker_id_map": {},
    }


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model(), folder / "tone.onnx")
    text = json.dumps(configuration(), ensure_ascii=False, indent=1)
    (folder / "tone.onnx.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
