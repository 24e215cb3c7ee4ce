"""Equations with their conditions, a reference solution and a finite-difference solver."""
