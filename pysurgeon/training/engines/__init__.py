"""Engines: what computes gradients and steps."""
