"""Read and write each layout of data files."""
