"""Python stubs generated from proto/cellserve/v1/segmentation.proto by `make proto`."""
