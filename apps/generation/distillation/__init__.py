"""Distillation: a flow map learned from a trained model's solutions, which draws in few evaluations."""
