"""From photographs to vectors: backbones in OpenVINO, and a cache."""
