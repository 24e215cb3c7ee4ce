"""Metrics of generated samples against real ones, with no download."""
