"""Callers and certificates."""
