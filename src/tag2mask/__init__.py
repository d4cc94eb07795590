"""From image-level tags to segmentation masks to a small deployable segmenter."""
