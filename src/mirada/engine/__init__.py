"""Where work runs: a seam. Code that maps over many photographs is handed an `Engine`."""
