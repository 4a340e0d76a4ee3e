"""A discrete-event simulation of gateways and Tritons with measured times, for `benchmarks/capacity.py`."""
