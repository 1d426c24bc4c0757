"""Checks: what may be wrong with photographs and labels, as scores that a person then decides on."""
