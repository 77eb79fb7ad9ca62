"""Named passes that bring a graph into its normal form."""
