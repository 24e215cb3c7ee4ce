"""Synthetic tables: how well they stand for real ones, what simple methods reach, and pictures of both."""
