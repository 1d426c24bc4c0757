"""Where photographs come from: folders, tables, packed data sets."""
