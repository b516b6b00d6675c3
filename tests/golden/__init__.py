"""Numbers of the original programs on fixed pictures and weights, and their comparison with ours.

`python -m tests.golden` prints every configuration and stage with its worst difference.
"""
