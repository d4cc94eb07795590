"""Files that are whole or absent, and folders that say how they came to be."""
