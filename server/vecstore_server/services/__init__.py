"""The services: requests in, calls on a Database, replies out."""
