"""What is deployed: bundles, their export, and the registry of versions."""
