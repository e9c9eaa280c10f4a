"""A small tokenizer that is an exact subset of Whisper's multilingual one, with Whisper's ids.

    python make_tokenizer.py …/whisper/assets/multilingual.tiktoken WORK/tokenizer.json

The input is the rank table in the openai-whisper package (MIT; a vocabulary, no weights). A vocabulary of our own
would not do: CTranslate2 and openai-whisper tell a multilingual model by the size of its vocabulary, and the ids of
Whisper's special tokens stand in much code. So we keep the bytes, the first merges, and every token on the way to our
domain's text, all with their own ids; special tokens keep theirs too (50257 ends a text, 50364 is <|0.00|>), and all
other ids stay empty.
"""

from __future__ import annotations

import base64
import json
import random
import sys
from collections.abc import Iterable
from pathlib import Path

import domain
from faster_whisper.tokenizer import _LANGUAGE_CODES
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

FIRST_MERGES = 700
"""Kept whatever they spell, so that prompts from elsewhere do not fall apart into bytes."""
VOCABULARY = 51_865
EMPTY = 50_256
"""The empty token, by which CTranslate2 4.8 and later tell a multilingual model."""
END_OF_TEXT = 50_257
TIMESTAMPS = 1501
SPECIALS = 107

# In Whisper's own order; faster-whisper sorts them by the alphabet.
LANGUAGES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg "
    "lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so "
    "af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su"
).split()

# What Whisper suppresses as "not speech" must exist, alone and in these groups.
SYMBOLS = '"#()*+/:;<=>@[\\]^_`{|}~「」『』♩♪♫♬♭♮♯'
GROUPS = "<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪".split()

Ranks = dict[bytes, int]


def _byte_letters() -> dict[int, str]:
    """The letter that byte-level BPE writes for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


BYTE_LETTERS = _byte_letters()


def _letters(token: bytes) -> str:
    return "".join(BYTE_LETTERS[byte] for byte in token)


def read_ranks(path: Path) -> Ranks:
    pairs = (line.split() for line in path.read_text().splitlines())
    return {base64.b64decode(token) if token != "=" else b"": int(rank) for token, rank in pairs}


def merge_parts(ranks: Ranks, token: bytes) -> list[bytes]:
    """The two tokens (bytes for the shortest) that are merged into ``token``."""
    parts = [bytes([byte]) for byte in token]
    while True:
        pairs = [(ranks.get(parts[i] + parts[i + 1], VOCABULARY), i) for i in range(len(parts) - 1)]
        rank, i = min(pairs, default=(VOCABULARY, 0))
        if rank >= ranks[token]:
            return parts
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def bpe(ranks: Ranks, tokens: Iterable[bytes]) -> Tokenizer:
    kept = sorted(tokens, key=lambda token: ranks[token])
    merges = [merge_parts(ranks, token) for token in kept if len(token) > 1]
    tokenizer = Tokenizer(
        BPE({_letters(token): ranks[token] for token in kept}, [(_letters(a), _letters(b)) for a, b in merges])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def domain_texts() -> set[str]:
    """All that the model may have to write, and the symbols that it must be kept from writing."""
    texts = {"♪♪♪", "♪♪", SYMBOLS[:25], "♩♪♫♬♭♮♯", " -", " '", " "}
    texts |= {spaced for text in [*SYMBOLS, *GROUPS] for spaced in (text, f" {text}")}
    rng = random.Random(0)
    for _ in range(30_000):
        plan = domain.sample(rng)
        for language in domain.LANGUAGES:
            text = domain.units(plan, language)[0]
            texts |= {text, text.lower()}
    return texts


def tokens_for(ranks: Ranks, full: Tokenizer, texts: Iterable[str]) -> set[bytes]:
    """The tokens that spell ``texts``, with all that they are merged from."""
    by_rank = {rank: token for token, rank in ranks.items()}
    kept = {bytes([byte]) for byte in range(256)} | {by_rank[rank] for rank in range(256, 256 + FIRST_MERGES)}
    kept |= {by_rank[token_id] for text in texts for token_id in full.encode(text).ids}
    waiting = [*kept]
    while waiting:
        token = waiting.pop()
        if len(token) > 1:
            new = {*merge_parts(ranks, token)} - kept
            kept |= new
            waiting += new
    return kept


def special_names() -> list[str]:
    """By id, from END_OF_TEXT on."""
    names = "endoftext startoftranscript".split() + LANGUAGES
    names += "translate transcribe startoflm startofprev nospeech notimestamps".split()
    assert len(names) == SPECIALS
    return [f"<|{name}|>" for name in [*names, *(f"{index * 0.02:.2f}" for index in range(TIMESTAMPS))]]


def with_specials(tokenizer: Tokenizer) -> str:
    """The tokenizer as JSON. The library numbers added tokens itself, so their ids are written into the JSON."""
    content = json.loads(tokenizer.to_str())
    names = {name: END_OF_TEXT + index for index, name in enumerate(special_names())}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    content["added_tokens"] = [
        {"id": number, "content": name, **flags, "special": number < END_OF_TEXT + SPECIALS}
        for name, number in names.items()
    ]
    content["model"]["vocab"] |= names  # the ids stick only when the model knows them too
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def vocabulary(tokenizer: Tokenizer) -> list[str]:
    """A name for each id, as CTranslate2 wants it; ids that are never used get short ones."""
    names = {number: token for token, number in tokenizer.get_vocab().items()} | {EMPTY: ""}
    return [names.get(number, f"<{number:x}>") for number in range(VOCABULARY)]


def main() -> None:
    source, target = map(Path, sys.argv[1:3])
    assert {*LANGUAGES, "yue"} == set(_LANGUAGE_CODES)
    ranks = read_ranks(source)
    full = bpe(ranks, (token for token in ranks if token))
    texts = domain_texts()
    small = bpe(ranks, tokens_for(ranks, full, texts))
    for text in texts:
        assert full.encode(text).ids == small.encode(text).ids, text
    target.write_text(with_specials(small), encoding="utf-8")
    made = Tokenizer.from_file(str(target))
    expected = {"endoftext": 50257, "startoftranscript": 50258, "transcribe": 50359, "0.00": 50364, "30.00": 51864}
    assert {name: made.token_to_id(f"<|{name}|>") for name in expected} == expected
    print(f"{target}: {small.get_vocab_size()} tokens of text")


if __name__ == "__main__":
    main()
