"""Waveforms: a clean signal from a noisy one, what stood in its gaps, and where its beats are."""
