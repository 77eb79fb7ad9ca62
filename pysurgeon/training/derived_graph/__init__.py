"""The graph that is differentiated, derived from the model."""
