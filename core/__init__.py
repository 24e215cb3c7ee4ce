"""Differential-equation layers and the numerics beneath them.

Imports nothing by itself, so that the command line stays quick; import what you need from the subpackages:
``numerics`` (how an equation is solved), ``fields`` (right-hand sides), ``layers`` (one layer is an equation),
``models`` (the whole network is one equation), ``losses``.
"""
