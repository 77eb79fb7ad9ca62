"""What is learnt: data bound to a model, its head, targets and figures."""
