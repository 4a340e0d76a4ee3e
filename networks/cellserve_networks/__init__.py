"""The Cellpose network in torch, and the files of networks and size models."""
