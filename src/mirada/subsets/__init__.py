"""Named, seeded parts of the catalogue, and their export to other tools; no photograph is copied but on export."""
