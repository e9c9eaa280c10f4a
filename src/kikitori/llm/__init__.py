"""Language models: summaries, questions and translations of a transcript, by any OpenAI-compatible chat endpoint."""
