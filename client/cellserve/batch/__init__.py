"""Batches: many images, several at a time, each result written once and recorded in a journal."""
