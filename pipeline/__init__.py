"""From in-the-wild face videos to WebDataset shards. Knows nothing of training."""
