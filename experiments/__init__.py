"""The longer runs of the course: ``python -m experiments NAME`` writes ``results/NAME.json``.

An experiment is a module with a docstring whose first line is the question, a function ``grid(quick)`` that returns a
list of frozen dataclasses, one for each variant and seed, and a function ``run(config)`` that returns a dict of
numbers, or lists of numbers. Experiments may import anything in ``minilib``, but not each other.
"""
