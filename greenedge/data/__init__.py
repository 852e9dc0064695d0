"""Images: sources in many layouts, prepared once into memory-mapped arrays, read in batches."""
