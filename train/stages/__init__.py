"""Training's DVC stages, one module a stage: `python -m train.stages.NAME`."""
