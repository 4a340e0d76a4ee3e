"""Batches: many images, in a run that can stop and go on."""
