"""Console commands about trained networks, one module a command; `train/cli.py` gathers them under `cct`."""
