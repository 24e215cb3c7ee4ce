"""Other libraries as engines."""
