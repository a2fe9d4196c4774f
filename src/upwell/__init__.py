"""Upwell: measure how much mathematics a language model can already do, and train it until it does so first time."""

__version__ = "0.1.0"
