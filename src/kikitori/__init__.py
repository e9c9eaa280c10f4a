"""Kikitori: a self-hosted speech-to-text server. See README.md for a first run."""

import os

# Before onnxruntime or the hub's client can be imported: both would report what they do to their makers.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
