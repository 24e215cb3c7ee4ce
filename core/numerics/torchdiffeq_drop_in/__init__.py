"""What stands behind torchdiffeq's names."""
