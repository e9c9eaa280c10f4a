"""Replies in a conversation: a language model writes, a voice speaks, sentence by sentence."""
