"""Train on the CPU, in stages.

    python train.py --corpus WORK/corpus --tokenizer WORK/tokenizer.json --out WORK/run [--init checkpoint.pt] \\
        --stage SHAPES,MINUTES,FIRST_RATE,LAST_RATE [--stage …]

SHAPES are FRAMES:WINDOWS:FULL:WEIGHT, joined with "+"; one of them is drawn for each step.
"""

from __future__ import annotations

import argparse
import math
import os
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from model import INDEX_CHANNELS, TIMESTAMPS, UNUSED_LOGIT, Model
from torch import Tensor
from torch.nn import functional

from data import IDS, Composer, Corpus, Vocabulary

SAVE_SECONDS, REPORT_SECONDS = 120, 20
GUIDED_HEADS = ((0, "look_in", (0,)), (1, "look_out", (0, 1)), (2, "look_out", (0, 1)))
"""Decoder layer, what its heads should look at, which heads."""

Batch = dict[str, Tensor]


class Shape(NamedTuple):
    frames: float
    windows: float
    full: float
    weight: float


@dataclass(frozen=True, slots=True)
class Stage:
    shapes: list[Shape]
    minutes: float
    first_rate: float
    last_rate: float

    @classmethod
    def parse(cls, text: str) -> Self:
        shapes, *numbers = text.split(",")
        return cls([Shape(*map(float, shape.split(":"))) for shape in shapes.split("+")], *map(float, numbers))

    def rate(self, done: float) -> float:
        """A half cosine; ``done`` goes from 0 to 1."""
        return self.last_rate + (self.first_rate - self.last_rate) * 0.5 * (1 + math.cos(math.pi * done))


# What is learned -----------------------------------------------------------------------------------------------------


def loss_of(model: Model, batch: Batch, vocabulary: Vocabulary, *, frame_weight: float, bf16: bool) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        heard = model.encoder(batch["mel"])
        answers = len(batch["inputs"]) // len(heard)
        states, looks = model.decoder(batch["inputs"], heard.repeat_interleave(answers, 0))
        learned = batch["learned"] > 0
        logits = model.decoder.logits(states[learned])
        frames = [head(heard).float() for head in (model.word_head, model.phase_head, model.index_head)]
    tokens = token_loss(logits.float(), batch["targets"][learned], vocabulary)
    return tokens + 0.5 * look_loss(looks, batch) + frame_weight * frame_loss(*frames, batch)


def token_loss(logits: Tensor, targets: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Cross-entropy; a timestamp beside the right one is a little right."""
    # The ids that are never used are one more class, with a constant logit.
    unused = torch.full_like(logits[..., :1], UNUSED_LOGIT + math.log(IDS - logits.shape[-1]))
    chances = torch.cat([logits, unused], -1).log_softmax(-1)

    def loss(of: Tensor) -> Tensor:
        return -chances.gather(-1, of[..., None])[..., 0]

    first = vocabulary.first_timestamp
    later = (targets + 1).clamp(max=first + TIMESTAMPS - 1)
    earlier = torch.where(targets > first, targets - 1, targets)
    soft = 0.8 * loss(targets) + 0.1 * loss(later) + 0.1 * loss(earlier)
    return torch.where(targets >= first, soft, loss(targets)).mean()


def look_loss(looks: list[Tensor], batch: Batch) -> Tensor:
    """The guided heads shall put their weight inside the word's time."""
    total, heads_in_all = torch.zeros(()), 0
    for layer, name, heads in GUIDED_HEADS:
        low, high = batch[name][..., 0], batch[name][..., 1]
        known = (high > 0).float()
        for head in heads:
            sums = functional.pad(looks[layer][:, head].cumsum(-1), (1, 0))
            inside = sums.gather(-1, high.clamp(min=0)[..., None]) - sums.gather(-1, low.clamp(min=0)[..., None])
            total = total - (inside[..., 0].clamp(min=1e-4).log() * known).sum() / known.sum().clamp(min=1)
            heads_in_all += 1
    return total / heads_in_all


def frame_loss(word: Tensor, phase: Tensor, index: Tensor, batch: Batch) -> Tensor:
    """Which word each frame belongs to, how far into it, and how many tokens into its utterance."""
    speech = (batch["word"] > 0).float()
    frames = speech.sum().clamp(min=1)
    words = functional.cross_entropy(word.reshape(-1, word.shape[-1]), batch["word"].reshape(-1))
    phases = (((phase[..., 0].sigmoid() - batch["phase"]) ** 2) * speech).sum() / frames
    angle = batch["index"][..., None] * (2 * math.pi / 2.0 ** torch.arange(2, 2 + INDEX_CHANNELS // 2))
    waves = torch.cat([angle.sin(), angle.cos()], -1)
    return words + phases + (((index - waves) ** 2).mean(-1) * speech).sum() / frames


# How it is learned ---------------------------------------------------------------------------------------------------


class Trainer:
    """One process of one thread. All processes change the same parameters without locks (Hogwild), each with an AdamW
    of its own: where cores are shared with others this loses far less than threads that wait for each other."""

    def __init__(self, rank: int, asked: argparse.Namespace, vocabulary: Vocabulary, corpus: Corpus, model: Model):
        torch.set_num_threads(1)
        torch.manual_seed(asked.seed + rank)
        self._rank, self._asked, self._vocabulary, self._model = rank, asked, vocabulary, model
        self._words = corpus.words
        self._composer = Composer(corpus, vocabulary, asked.seed * 1000 + rank)
        self._mean = {name: value.clone() for name, value in model.state_dict().items()}
        self._step = 0
        plain, decayed = [], []
        for name, parameter in model.named_parameters():
            (plain if parameter.dim() < 2 or "embed" in name or "text" in name else decayed).append(parameter)
        groups = [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98))

    def run(self) -> None:
        for number, stage in enumerate(self._asked.stage):
            with self._batches(stage) as batches:
                self._run_stage(number, stage, batches)
            self._save(f"stage{number}.pt")

    def _run_stage(self, number: int, stage: Stage, batches: queue.Queue[dict[str, Any]]) -> None:
        began = reported = saved = time.monotonic()
        losses: list[float] = []
        while (minutes := (time.monotonic() - began) / 60) <= stage.minutes:
            done = minutes / stage.minutes
            frames_first = number == 0 and done < 0.5 and not self._asked.init
            losses.append(self._learn(batches.get(), stage.rate(done), frame_weight=1.0 if frames_first else 0.4))
            if time.monotonic() - reported > REPORT_SECONDS:
                loss = sum(losses) / len(losses)
                print(f"{self._rank}: stage {number} {minutes:.1f} min, step {self._step}, loss {loss:.3f}", flush=True)
                losses, reported = [], time.monotonic()
            if time.monotonic() - saved > SAVE_SECONDS:
                self._save("last.pt")
                saved = time.monotonic()

    def _learn(self, batch: dict[str, Any], rate: float, *, frame_weight: float) -> float:
        warm_up = 60 if self._asked.init else 200
        for group in self._optimizer.param_groups:
            group["lr"] = rate * min(1.0, (self._step + 1) / warm_up)
        tensors = {name: torch.from_numpy(value) for name, value in batch.items()}
        loss = loss_of(self._model, tensors, self._vocabulary, frame_weight=frame_weight, bf16=self._asked.bf16)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        if self._rank == 0:
            decay = min(0.998, (self._step + 1) / (self._step + 20))
            with torch.no_grad():
                for name, value in self._model.state_dict().items():
                    self._mean[name].lerp_(value, 1 - decay)
        self._step += 1
        return loss.item()

    @contextmanager
    def _batches(self, stage: Stage) -> Iterator[queue.Queue[dict[str, Any]]]:
        """A queue that another thread keeps full."""
        ready: queue.Queue[dict[str, Any]] = queue.Queue(3)
        stop = threading.Event()

        def compose() -> None:
            weights = [shape.weight for shape in stage.shapes]
            while not stop.is_set():
                shape = self._composer.choose(stage.shapes, weights)
                batch = self._composer.batch(int(shape.windows), int(shape.frames), shape.full)
                while not stop.is_set():
                    try:
                        ready.put(batch, timeout=0.5)
                        break
                    except queue.Full:
                        pass

        thread = threading.Thread(target=compose, daemon=True)
        thread.start()
        try:
            yield ready
        finally:
            stop.set()
            thread.join()

    def _save(self, name: str) -> None:
        if self._rank == 0:
            path = self._asked.out / name
            content = {"model": self._model.state_dict(), "ema": self._mean, "words": self._words, "step": self._step}
            torch.save(content, path.with_suffix(".tmp"))
            os.replace(path.with_suffix(".tmp"), path)


def weights_to_go_on_from(path: Path, words: list[str]) -> dict[str, Tensor]:
    checkpoint = torch.load(path)
    weights = checkpoint["ema"]
    order = [checkpoint["words"].index(word) for word in words]  # another corpus numbers words differently
    for name in ("word_head.weight", "word_head.bias"):
        weights[name] = weights[name][order]
    return weights


def train(rank: int, asked: argparse.Namespace, vocabulary: Vocabulary, corpus: Corpus, model: Model) -> None:
    Trainer(rank, asked, vocabulary, corpus, model).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default="work/corpus")
    parser.add_argument("--tokenizer", type=Path, default="work/tokenizer.json")
    parser.add_argument("--out", type=Path, default="work/run")
    parser.add_argument("--stage", type=Stage.parse, action="append", required=True)
    parser.add_argument("--init", type=Path)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # before forking: no pool of threads in the parent
    torch.manual_seed(asked.seed)
    vocabulary, corpus = Vocabulary(asked.tokenizer), Corpus(asked.corpus)
    model = Model(vocabulary.first_timestamp, len(corpus.words))
    if asked.init:
        model.load_state_dict(weights_to_go_on_from(asked.init, corpus.words))
    model.share_memory()
    context = torch.multiprocessing.get_context("fork")
    workers = [
        context.Process(target=train, args=(rank, asked, vocabulary, corpus, model)) for rank in range(asked.processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
