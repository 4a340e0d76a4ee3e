"""Python stubs generated from proto/cellserve/v1/*.proto by `make proto`."""
