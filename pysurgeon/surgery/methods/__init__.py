"""Numerical methods of the operations."""
