"""Hostile callers of a running gateway, and the measurement of what they cost it."""
