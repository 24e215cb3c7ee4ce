"""Stochastic equations: noise, schemes and their derivatives."""
