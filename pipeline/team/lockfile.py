"""What DVC itself would say of a dvc.lock."""

from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils.strictyaml import YAMLValidationError, validate


def problem(content: object) -> str | None:
    """Why DVC refuses such a content, and at which stage; None if it does not."""
    try:
        validate(content, COMPILED_LOCKFILE_SCHEMA)
    except YAMLValidationError as error:
        place = " ".join(map(str, error.exc.errors[0].path[:2]))  # stages, and the name of one
        return f"is cut off or not what DVC writes{f' at {place}' if place else ''}"
    return None
