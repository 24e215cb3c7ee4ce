"""What ``inpaint`` does."""
