"""Graders of other projects, by their documented behaviour, so that published numbers can be re-derived.

Each module has an `extract` and a `compare`. Written anew from the papers and from what the programs do; where
nothing is known of a detail, docs/grading.md says "ours". None gives text to `eval`, `sympify` or `parse_expr`:
what those projects hand to SymPy goes, as LaTeX, through `Algebra` to a worker.
"""
