"""Rhythm classification: which rhythm holds in each segment of a recording."""
