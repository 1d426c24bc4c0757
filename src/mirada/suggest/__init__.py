"""Which unlabelled photographs to label next, and how far one has come."""
