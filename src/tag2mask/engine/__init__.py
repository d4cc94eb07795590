"""The one training loop, inference, and one function over many images."""
