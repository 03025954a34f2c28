"""The preparation's DVC stages, one module a stage: `python -m pipeline.stages.NAME`."""
