class DvcException(Exception): ...  # noqa: N818
