"""Learn rotation-invariant representations of cells and export them to ONNX."""
