"""The MLflow mirror: a queue that anything may fill, and a process of its own that empties it."""
