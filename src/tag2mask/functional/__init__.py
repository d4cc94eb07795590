"""Pure functions on tensors: the equations, without files or settings."""
