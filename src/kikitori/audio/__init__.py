"""Media in, float32 mono 16 kHz out; speech spans and chunks."""
