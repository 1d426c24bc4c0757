"""Training: heads on embeddings, without torch."""
