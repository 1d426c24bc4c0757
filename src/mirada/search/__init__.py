"""Spaces of choices, and studies that look for the best of them."""
