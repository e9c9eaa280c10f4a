"""The trained weights as other programs load them.

    python export.py --openai FILE    for openai-whisper
    python export.py --all FOLDER     that, and the formats of Hugging Face and CTranslate2 (int8, float32)

The first needs torch, numpy and tokenizers, the second transformers, ctranslate2 and faster-whisper too.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
from pathlib import Path
from typing import Any

import model as shape
import torch
from torch import Tensor

from data import END, IDS, NO_TIMESTAMPS, PREVIOUS, START, TRANSCRIBE, TRANSLATE, Vocabulary

HERE = Path(__file__).resolve().parent
TOKENIZER = HERE.parents[1] / "tests" / "data" / "whisper-mini" / "model" / "tokenizer.json"
ALIGNMENT_HEADS = [[shape.DECODER_LAYERS - 1, 0], [shape.DECODER_LAYERS - 1, 1]]
SPACE = 220
PREPROCESSOR = {
    "chunk_length": 30,
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": shape.MELS,
    "hop_length": 160,
    "n_fft": 400,
    "n_samples": 480_000,
    "nb_max_frames": 2 * shape.FRAMES,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
    "sampling_rate": 16_000,
    "processor_class": "WhisperProcessor",
}
OPENAI_NAMES = {
    "layers": "blocks",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "final_layer_norm": "mlp_ln",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "encoder_attn": "cross_attn",
    "self_attn_layer_norm": "attn_ln",
    "self_attn": "attn",
    ".q_proj": ".query",
    ".k_proj": ".key",
    ".v_proj": ".value",
    ".out_proj": ".out",
    "decoder.layer_norm": "decoder.ln",
    "encoder.layer_norm": "encoder.ln_post",
    "decoder.embed_tokens.weight": "decoder.token_embedding.weight",
    "encoder.embed_positions.weight": "encoder.positional_embedding",
    "decoder.embed_positions.weight": "decoder.positional_embedding",
}
"""In this order: longer names before those they contain."""


def whisper_weights(checkpoint: Path, vocabulary: Vocabulary) -> dict[str, Tensor]:
    """The weights under Hugging Face's names, without what only training needed."""
    content = torch.load(checkpoint)
    trained = shape.Model(vocabulary.first_timestamp, len(content["words"]))
    trained.load_state_dict(content["ema"])
    weights = {
        name: value.clone()
        for name, value in trained.state_dict().items()
        if name.startswith("encoder.") or name.startswith(("decoder.layers.", "decoder.layer_norm."))
    }
    table = torch.zeros(IDS, shape.WIDTH)
    table[:, 0] = shape.UNUSED_LOGIT
    table[vocabulary.ids] = trained.decoder.table().detach()
    weights["decoder.embed_tokens.weight"] = table
    weights["decoder.embed_positions.weight"] = trained.decoder.embed_positions.detach().clone()
    weights["encoder.embed_positions.weight"] = shape.sinusoids(shape.FRAMES, shape.WIDTH)
    weights["decoder.layer_norm.weight"][0] = 0.0  # channel 0 is the constant 1
    weights["decoder.layer_norm.bias"][0] = 1.0
    return weights


def save_openai(weights: dict[str, Tensor], path: Path) -> None:
    dimensions = {
        "n_mels": shape.MELS,
        "n_vocab": IDS,
        "n_audio_ctx": shape.FRAMES,
        "n_audio_state": shape.WIDTH,
        "n_audio_head": shape.HEADS,
        "n_audio_layer": shape.ENCODER_LAYERS,
        "n_text_ctx": shape.POSITIONS,
        "n_text_state": shape.WIDTH,
        "n_text_head": shape.HEADS,
        "n_text_layer": shape.DECODER_LAYERS,
    }
    renamed = {}
    for name, value in weights.items():
        for ours, theirs in OPENAI_NAMES.items():
            name = name.replace(ours, theirs)
        renamed[name] = value.contiguous()
    torch.save({"dims": dimensions, "model_state_dict": renamed}, path)


def hugging_face(weights: dict[str, Tensor], vocabulary: Vocabulary) -> Any:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=IDS,
        num_mel_bins=shape.MELS,
        d_model=shape.WIDTH,
        encoder_layers=shape.ENCODER_LAYERS,
        decoder_layers=shape.DECODER_LAYERS,
        encoder_attention_heads=shape.HEADS,
        decoder_attention_heads=shape.HEADS,
        encoder_ffn_dim=shape.FEED_FORWARD,
        decoder_ffn_dim=shape.FEED_FORWARD,
        max_source_positions=shape.FRAMES,
        max_target_positions=shape.POSITIONS,
        dropout=0.0,
        decoder_start_token_id=START,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=END,
        is_encoder_decoder=True,
        tie_word_embeddings=True,
        scale_embedding=False,
        suppress_tokens=[],
        begin_suppress_tokens=[SPACE, END],
        median_filter_width=7,
    )
    model = WhisperForConditionalGeneration(config)
    missing, unexpected = model.load_state_dict(
        {f"model.{name}": value for name, value in weights.items()}, strict=False
    )
    assert not unexpected and all("proj_out" in name for name in missing), (missing, unexpected)
    model.tie_weights()
    model.generation_config = _generation_config(vocabulary)
    return model.eval()


def _generation_config(vocabulary: Vocabulary) -> Any:
    from faster_whisper.tokenizer import Tokenizer
    from make_tokenizer import LANGUAGES
    from transformers import GenerationConfig

    not_speech = Tokenizer(vocabulary.tokenizer, True, "transcribe", "en").non_speech_tokens
    return GenerationConfig(
        decoder_start_token_id=START,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=END,
        suppress_tokens=sorted({*not_speech, START, *range(TRANSLATE, NO_TIMESTAMPS)}),
        begin_suppress_tokens=[SPACE, END],
        alignment_heads=ALIGNMENT_HEADS,
        lang_to_id={f"<|{code}|>": vocabulary.language(code) for code in LANGUAGES},
        task_to_id={"translate": TRANSLATE, "transcribe": TRANSCRIBE},
        is_multilingual=True,
        no_timestamps_token_id=NO_TIMESTAMPS,
        max_initial_timestamp_index=50,
        max_length=shape.POSITIONS,
        prev_sot_token_id=PREVIOUS,
        return_timestamps=False,
    )


def save_hugging_face(model: Any, tokenizer: Path, folder: Path) -> None:
    model.save_pretrained(folder)
    shutil.copy(tokenizer, folder / "tokenizer.json")
    end = "<|endoftext|>"
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1024, "add_prefix_space": False}
    facts |= {f"{name}_token": end for name in ("bos", "eos", "unk", "pad")} | {"clean_up_tokenization_spaces": False}
    _write_json(folder / "tokenizer_config.json", facts)
    _write_json(folder / "preprocessor_config.json", PREPROCESSOR)


def save_ctranslate2(
    model: Any, vocabulary: Vocabulary, tokenizer: Path, folder: Path, quantization: str | None
) -> None:
    from ctranslate2.converters.transformers import WhisperLoader
    from make_tokenizer import vocabulary as names

    loader = WhisperLoader()
    spec = loader.get_model_spec(copy.deepcopy(model))  # quantising scales the arrays in place
    loader.set_config(spec.config, model, None)
    spec.register_vocabulary(names(vocabulary.tokenizer))
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    _write_json(folder / "config.json", json.loads((folder / "config.json").read_text()))  # on one line
    _write_json(folder / "vocabulary.json", names(vocabulary.tokenizer), separators=(",", ":"))
    shutil.copy(tokenizer, folder / "tokenizer.json")
    _write_json(folder / "preprocessor_config.json", PREPROCESSOR)


def _write_json(path: Path, content: object, **how: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, **how), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=HERE / "checkpoint.pt")
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--openai", type=Path, metavar="FILE")
    what.add_argument("--all", type=Path, metavar="FOLDER")
    asked = parser.parse_args()
    vocabulary = Vocabulary(asked.tokenizer)
    weights = whisper_weights(asked.checkpoint, vocabulary)
    if asked.openai:
        save_openai(weights, asked.openai)
        return
    asked.all.mkdir(parents=True, exist_ok=True)
    save_openai(weights, asked.all / "whisper-mini-openai.pt")
    model = hugging_face(weights, vocabulary)
    save_hugging_face(model, asked.tokenizer, asked.all / "whisper-mini-hf")
    for name, quantization in (("float32", None), ("int8", "int8")):
        save_ctranslate2(model, vocabulary, asked.tokenizer, asked.all / f"whisper-mini-{name}", quantization)


if __name__ == "__main__":
    main()
