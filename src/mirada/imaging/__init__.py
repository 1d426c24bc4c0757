"""One safe door for every photograph: decode, preprocess, fingerprint, thumbnail."""
