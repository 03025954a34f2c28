"""The preparation's DVC stages, one module a stage: `python -m pipeline.stages.NAME`.

Libraries read these variables when they are loaded: a stage must have one thread when it begins, to be forked.
"""

import os

from pipeline.workers.child import EARLY_ENVIRONMENT

os.environ.update(EARLY_ENVIRONMENT)
