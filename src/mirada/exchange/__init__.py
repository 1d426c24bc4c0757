"""Decisions to and from other tools: CSV and Label Studio."""
