"""Samplers: plain functions that walk a field from noise to data."""
