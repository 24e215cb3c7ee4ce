"""Instruments for a trained run, whichever application it is of: what it solves, and how far to rely on it."""
