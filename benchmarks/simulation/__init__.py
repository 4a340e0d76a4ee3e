"""Gateways and Tritons as a simulation, fed with measured times: `benchmarks/capacity.py`."""
