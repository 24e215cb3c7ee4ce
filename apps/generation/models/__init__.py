"""Denoising networks: what stands inside the preconditioning."""
