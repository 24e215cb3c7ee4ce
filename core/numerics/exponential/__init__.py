"""Exponential and implicit-explicit methods for semilinear equations."""
