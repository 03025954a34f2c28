"""From shards to numbers: networks trained on noisy labels, their scores and their report."""
