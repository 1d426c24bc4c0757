"""What the photographs are like: numbers, a map, and a page that stands alone."""
