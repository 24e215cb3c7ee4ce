"""Diagnosis: which of several findings hold in each segment of a recording, any number at once."""
