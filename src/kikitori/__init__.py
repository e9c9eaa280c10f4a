"""Kikitori: a self-hosted speech-to-text server. See README.md for a first run."""

__version__ = "0.1.0"
