"""Models in memory: batching, priorities, lifetime."""
