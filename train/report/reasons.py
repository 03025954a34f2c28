"""Why frames are left out, in words."""

from pipeline.contract import Drop

BY_CHOICE = (
    Drop.LABEL_IGNORED,
    Drop.CLASS_EXCLUDED,
    Drop.EXCLUDED_BY_REVIEW,
    Drop.NOT_SAMPLED,
    Drop.VIDEO_WITHOUT_ANNOTATION,
)
"""Reasons that are a decision, not a defect."""

REASONS = {
    Drop.LABEL_IGNORED: (
        "No label",
        "The annotators marked these frames as having no usable expression (-1).",
    ),
    Drop.CLASS_EXCLUDED: (
        "Class not in use",
        "Their class is not among the classes asked for (index.classes).",
    ),
    Drop.NOT_SAMPLED: ("Between sampled frames", "Only every n-th frame is used (extract.stride)."),
    Drop.EXCLUDED_BY_REVIEW: (
        "Excluded in review",
        "Somebody looked at them and excluded them (labels/overrides.csv).",
    ),
    Drop.LABEL_OUT_OF_RANGE: ("Unknown class number", "The label is a number that stands for no class."),
    Drop.LABEL_UNREADABLE: ("Unreadable label", "The line in the annotation file is not a whole number."),
    Drop.BEYOND_VIDEO: ("Beyond the video", "The annotation has more lines than the video has frames."),
    Drop.FRAME_UNDECODABLE: ("Frame does not decode", "The video has this frame, but it is damaged or cut off."),
    Drop.NO_FACE: ("No face found", "The detector saw no face in the frame, or none it was sure of."),
    Drop.SUBJECT_NOT_FOUND: ("Another face only", "A face was seen, but not that of the annotated person."),
    Drop.ANNOTATION_UNREADABLE: (
        "Unreadable annotation",
        "The annotation file could not be understood at all.",
    ),
    Drop.SPLIT_CONFLICT: (
        "In two splits",
        "The video is also in another split, which keeps it, so that nothing leaks.",
    ),
    Drop.DUPLICATE_VIDEO: (
        "Same content in two splits",
        "A video of another name and split has the same content; that split keeps it, so that nothing leaks.",
    ),
    Drop.DUPLICATE_PICTURE: (
        "Same picture in two splits",
        "An evaluation split holds the very same picture and keeps it, so that nothing leaks.",
    ),
    Drop.NO_MAJORITY: ("Voters disagree", "No class has more than half of the votes."),
    Drop.PICTURE_MISSING: ("Picture missing", "There is a label, but no picture of that name or number."),
    Drop.PICTURE_UNREADABLE: ("Unreadable picture", "The file is damaged, cut short, or no picture."),
    Drop.VIDEO_MISSING: ("Video missing", "There is an annotation, but no video of that name."),
    Drop.VIDEO_UNREADABLE: ("Unreadable video", "The video could not be opened, or not decoded to its end."),
    Drop.VIDEO_WITHOUT_ANNOTATION: (
        "Video without labels",
        "There is a video, but no annotation (as in a test set).",
    ),
    Drop.COUNTS_DISAGREE: (
        "Counts disagree",
        "Annotation lines and video frames differ by more than allowed.",
    ),
    Drop.WORKER_FAILED: ("Processing failed", "An error stopped work on this video; the detail says which."),
}
"""What each reason is called on the page, and what it means."""
