"""Whisper in plain PyTorch, with Hugging Face's parameter names, so that exporting is mostly copying.

What differs while training, and is undone by export.py:

- only the ids in use have a row in the embedding;
- rows of timestamps are sinusoids times one small matrix, so that <|17.34|> is learned from <|3.02|>;
- channel 0 of the decoder's output is 1 and that of rows in use is 0, so that ids never used can share one row whose
  logit is always -30;
- heads for each frame (which word, where in it, how many tokens so far) teach the encoder, and some cross-attention
  heads are shown where to look: the synthesiser knows when each word is spoken.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS, FEED_FORWARD, ENCODER_LAYERS, DECODER_LAYERS = 96, 4, 384, 4, 3
MELS, FRAMES, POSITIONS, TIMESTAMPS = 80, 1500, 448, 1501
INDEX_CHANNELS = 12
UNUSED_LOGIT = -30.0


def sinusoids(length: int, channels: int) -> Tensor:
    step = math.log(10_000) / (channels // 2 - 1)
    angles = torch.arange(length)[:, None] * torch.exp(-step * torch.arange(channels // 2))[None, :]
    return torch.cat([angles.sin(), angles.cos()], 1)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.k_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.v_proj = nn.Linear(WIDTH, WIDTH)
        self.q_proj = nn.Linear(WIDTH, WIDTH)
        self.out_proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, *, causal: bool) -> Tensor:
        """Of ``x`` to itself."""
        mixed = functional.scaled_dot_product_attention(
            _by_head(self.q_proj(x)), _by_head(self.k_proj(x)), _by_head(self.v_proj(x)), is_causal=causal
        )
        return self.out_proj(_together(mixed))

    def across(self, x: Tensor, heard: Tensor) -> tuple[Tensor, Tensor]:
        """Of ``x`` to what was heard, and the weights: (batch, heads, tokens, frames)."""
        query, key, value = _by_head(self.q_proj(x)), _by_head(self.k_proj(heard)), _by_head(self.v_proj(heard))
        weights = ((query @ key.transpose(-1, -2)) / math.sqrt(WIDTH // HEADS)).float().softmax(-1)
        return self.out_proj(_together(weights.to(value.dtype) @ value)), weights


def _by_head(x: Tensor) -> Tensor:
    return x.view(len(x), -1, HEADS, WIDTH // HEADS).transpose(1, 2)


def _together(x: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape(len(x), -1, WIDTH)


class EncoderLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = Attention()
        self.self_attn_layer_norm = nn.LayerNorm(WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, FEED_FORWARD), nn.Linear(FEED_FORWARD, WIDTH)
        self.final_layer_norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.feed_forward(x + self.self_attn(self.self_attn_layer_norm(x), causal=False))

    def feed_forward(self, x: Tensor) -> Tensor:
        return x + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))


class DecoderLayer(EncoderLayer):
    def __init__(self) -> None:
        super().__init__()
        self.encoder_attn = Attention()
        self.encoder_attn_layer_norm = nn.LayerNorm(WIDTH)

    def decode(self, x: Tensor, heard: Tensor) -> tuple[Tensor, Tensor]:
        x = x + self.self_attn(self.self_attn_layer_norm(x), causal=True)
        mixed, weights = self.encoder_attn.across(self.encoder_attn_layer_norm(x), heard)
        return self.feed_forward(x + mixed), weights


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(MELS, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.register_buffer("positions", sinusoids(FRAMES, WIDTH), persistent=False)
        self.layers = nn.ModuleList(EncoderLayer() for _ in range(ENCODER_LAYERS))
        self.layer_norm = nn.LayerNorm(WIDTH)

    def forward(self, mel: Tensor) -> Tensor:
        """(batch, 80, 2 n) → (batch, n, width)."""
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.layer_norm(x)


class Decoder(nn.Module):
    def __init__(self, text_tokens: int) -> None:
        super().__init__()
        self.text = nn.Parameter(torch.randn(text_tokens, WIDTH) * 0.1)
        self.register_buffer("time_waves", sinusoids(TIMESTAMPS, WIDTH), persistent=False)
        self.ts_w = nn.Parameter(torch.eye(WIDTH) * 0.2)
        self.ts_b = nn.Parameter(torch.zeros(WIDTH))
        self.embed_positions = nn.Parameter(sinusoids(POSITIONS, WIDTH) * 0.1)
        self.layers = nn.ModuleList(DecoderLayer() for _ in range(DECODER_LAYERS))
        self.layer_norm = nn.LayerNorm(WIDTH)
        self.register_buffer("not_channel_0", (torch.arange(WIDTH) > 0).float(), persistent=False)

    def table(self) -> Tensor:
        """The embedding of all ids in use."""
        return torch.cat([self.text, self.time_waves @ self.ts_w + self.ts_b]) * self.not_channel_0

    def forward(self, ids: Tensor, heard: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The states, and the cross-attention of each layer."""
        x = functional.embedding(ids, self.table()) + self.embed_positions[: ids.shape[1]]
        looks = []
        for layer in self.layers:
            x, weights = layer.decode(x, heard)
            looks.append(weights)
        return self.layer_norm(x) * self.not_channel_0, looks

    def logits(self, states: Tensor) -> Tensor:
        return states @ self.table().t()


class Model(nn.Module):
    def __init__(self, text_tokens: int, words: int) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder(text_tokens)
        self.word_head = nn.Linear(WIDTH, words)
        self.phase_head = nn.Linear(WIDTH, 1)
        self.index_head = nn.Linear(WIDTH, INDEX_CHANNELS)  # tokens so far in this utterance, as waves
        for name, parameter in self.named_parameters():
            if name.endswith(("proj.weight", "fc1.weight", "fc2.weight")):
                nn.init.xavier_uniform_(parameter, gain=0.7 if "out_proj" in name or "fc2" in name else 1.0)
            if name.endswith("bias") and "layer_norm" not in name:
                nn.init.zeros_(parameter)
