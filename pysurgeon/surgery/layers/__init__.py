"""What a layer is: its weights, bias, activation and the blocks around it."""
