"""Measurements and demonstrations of vecstore; not part of the library."""
