"""Console commands of the preparation, one module a command; `train/cli.py` gathers them under `cct`."""
