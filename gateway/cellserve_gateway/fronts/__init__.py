"""Fronts: each translates one transport into calls of the core, and back."""
