"""Turns at a GPU, for functions that many threads call at once."""

from threading import BoundedSemaphore

at_device = BoundedSemaphore(2)
"""Held while a GPU works on an image. Threads share its queue, so that more of them at
once gain nothing, and each needs gigabytes for a large photograph."""
