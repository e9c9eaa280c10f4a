"""Live sessions without I/O: audio, speech probabilities and a ``now`` in; events and decoding jobs out."""
