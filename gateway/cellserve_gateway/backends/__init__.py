"""Backends: each runs networks on tiles."""
