"""Answers from a bundle, with neither torch nor a workspace."""
