"""The demo: a semantic search over Python's own standard library, through a real server."""
