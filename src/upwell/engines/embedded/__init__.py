"""The default engine: PyTorch on this machine, prompts shared between their draws."""
