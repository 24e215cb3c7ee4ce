"""Derivatives of a whole solve."""
