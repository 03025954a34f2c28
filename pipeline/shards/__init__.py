"""Shard sets: WebDataset tars of shuffled samples, their manifest, its verification, and reading single samples."""
