"""The engine that calls OpenAI-compatible servers: what is said to them, how fast, and what becomes of faults."""
