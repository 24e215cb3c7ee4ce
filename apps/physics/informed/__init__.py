"""Networks that solve a differential equation by its residual, and find its parameters from observations."""
