"""The library's face: `mirada.train`, `mirada.load`, `mirada.ImageClassifier`."""
