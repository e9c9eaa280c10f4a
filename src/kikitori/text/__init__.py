"""Transcripts out: plain text, subtitles, JSON. Pure functions."""
