"""Wyoming: the voice pipeline of Home Assistant, over TCP."""
