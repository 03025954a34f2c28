"""What the frame table may tell of a frame besides its label, and where a picture lies that is not a video's frame."""

from pipeline.contract import BOX_COLUMNS, FRAME_COLUMNS, POINT_COLUMNS

ACTION_UNITS = (1, 2, 4, 6, 7, 10, 12, 15, 20, 23, 24, 25, 26)
"""Units of the Facial Action Coding System that any edition of Aff-Wild2 annotates."""

NO_LISTED_LABEL = -1

MARK_COLUMNS = {
    "picture": "string",
    "valence": "double",
    "arousal": "double",
    "action_units": "string",
    "votes": "counts",
    "listed_label": "int64",
}
"""Known of some samples only, else null: the set's name of a picture; valence and arousal in [-1, 1]; action
units like `AU1=0 AU12=1`, those annotated; how many people voted for each of the set's C classes; and the class that
`index.noise_list` gives (`NO_LISTED_LABEL` where there is no list)."""

GIVEN_BOX = tuple(f"given_{name}" for name in BOX_COLUMNS)
GIVEN_POINTS = tuple(f"given_{name}" for name in POINT_COLUMNS)

PLACE_COLUMNS = {
    "file": "string",
    "offset": "int64",
    "width": "int64",
    "height": "int64",
    "sha256": "string",
} | dict.fromkeys((*GIVEN_BOX, *GIVEN_POINTS), "double")
"""Of a picture: its file below `index.raw`, where its pixels begin if that is a table of pixels (else -1), its size in
pixels, the digest of its bytes, and the face that the set's makers give. Null where frames come from a video."""

INDEX_COLUMNS = FRAME_COLUMNS | MARK_COLUMNS | PLACE_COLUMNS
"""The whole frame table as the index stage writes it."""
