"""What leaves tag2mask: masks in the formats of other tools, and models."""
