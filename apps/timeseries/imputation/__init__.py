"""Imputation: what stood where nothing was observed."""
