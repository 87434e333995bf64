"""How fast it is, beside stock Jupyter on the same machine, interpreter and virtualenv.

    python -m tests.benchmarks [--quick] [--only GROUP] [--json FILE]

A group of figures is an ``async def`` that takes a ``Bench`` and returns rows; ``groups.GROUPS`` names them.
"""
