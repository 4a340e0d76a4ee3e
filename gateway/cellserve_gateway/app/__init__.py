"""The core: images, parameters, callers and deadlines. Knows no transport, no server of networks."""
