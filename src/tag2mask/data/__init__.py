"""Classes, images, tags, masks: everything that is read from a user's disk."""
