"""The best model as ONNX and as an exported program."""
