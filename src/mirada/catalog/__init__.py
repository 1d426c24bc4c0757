"""The catalogue: samples, decisions, splits, predictions, jobs, models."""
