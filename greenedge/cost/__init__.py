"""Costs of a prediction: FLOPs, seconds and joules."""
