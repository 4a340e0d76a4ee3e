"""What client and server share, written once: parameters, arrays in messages, columns, model cards, reasons.

`arrays` and `wire` know the messages of the contract. All other modules need the standard library and NumPy only, so
that numerics may import them.
"""
