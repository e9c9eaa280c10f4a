"""One file from media to transcript, without durability."""
