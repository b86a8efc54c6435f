"""Ways to find the nearest rows of a table: an exact scan, and an HNSW graph."""
