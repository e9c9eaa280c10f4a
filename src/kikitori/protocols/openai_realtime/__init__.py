"""OpenAI's Realtime protocol: sessions, turns and items, in today's shape and in the one of the beta."""
