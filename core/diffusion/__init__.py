"""Diffusion: paths from data to noise, the fields along them, and how they are walked."""
