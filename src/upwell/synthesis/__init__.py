"""Questions that nobody has asked and solutions that nobody has written, made by a teacher or a program: `Draft`s."""
