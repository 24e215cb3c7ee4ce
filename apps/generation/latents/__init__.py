"""Diffusions and flows of latents: what a user's autoencoder makes of images or series."""
