"""Losses: ONNX graphs of a model's values and of targets, one registry of those that come with pysurgeon, and the user's own."""
