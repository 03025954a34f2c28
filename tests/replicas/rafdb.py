"""RAF-DB, basic: `EmoLabel/list_patition_label.txt`, `Image/aligned`, noise lists."""

from pathlib import Path

from pipeline.contract import Drop
from tests.replicas.base import Replica
from tests.replicas.faces import demo_faces

OURS = {1: 6, 2: 3, 3: 2, 4: 4, 5: 5, 6: 1, 7: 0}
"""Their labels, Surprise to Neutral, as classes."""

TRAIN, TEST = 42, 21


def make(raw: Path) -> Replica:
    """42 training and 21 test pictures; `noise01.txt` calls every fourth training picture something else."""
    changes = {"align.faces": "as_is", "index.noise_list": "EmoLabel/noise01.txt", "noise_unit": "frame"}
    changes |= {"noise_kind": "listed"}
    replica = Replica(layout="rafdb", raw=raw, annotations="EmoLabel/list_patition_label.txt", changes=changes)
    faces = iter(demo_faces())
    lines, noisy = [], []
    for prefix, count in (("test", TEST), ("train", TRAIN)):
        for number in range(1, count + 1):
            stem, theirs = f"{prefix}_{number:0{4 if prefix == 'test' else 5}}", number % 7 + 1
            content, face = next(faces).jpeg(100), f"Image/aligned/{stem}_aligned.jpg"
            lines.append(f"{stem}.jpg {8 if stem == 'train_00005' else theirs}")
            if prefix == "train":
                noisy.append(f"{stem}.jpg {theirs % 7 + 1 if number % 4 == 0 else theirs}")
            match stem:
                case "train_00003":
                    replica.drop(Drop.PICTURE_MISSING, f"no file {face}")
                    continue
                case "train_00005":
                    replica.drop(Drop.LABEL_OUT_OF_RANGE, "train_00005: label 8")
                case "train_00007":
                    replica.drop(Drop.PICTURE_UNREADABLE, f"{face}: image file is truncated")
                    content = content[:-300]
                case "train_00009":
                    content = (raw / "Image/aligned/test_0009_aligned.jpg").read_bytes()
                    told = f"{face} is Image/aligned/test_0009_aligned.jpg of split val"
                    replica.drop(Drop.DUPLICATE_PICTURE, told)
                case "train_00011":
                    replica.drop(Drop.PICTURE_UNREADABLE, f"{face}: not a JPEG")
                    content = b"<html>404</html>"
                case _:
                    replica.sample("train" if prefix == "train" else "val", OURS[theirs])
            replica.write(face, content)
    lines += ["", "train_00001.jpg 3", "train_x.jpg 3"]
    replica.drop(Drop.LABEL_UNREADABLE, "line 65: a second time", "line 66: not a picture and its label", frames=2)
    replica.write("Image/aligned/train_99999_aligned.jpg", next(faces).jpeg(100))
    replica.drop(Drop.VIDEO_WITHOUT_ANNOTATION, "train_99999", frames=0)
    replica.write("EmoLabel/list_patition_label.txt", "\n".join(lines) + "\n")
    replica.write("EmoLabel/noise01.txt", "\r\n".join(noisy) + "\r\n")
    return replica
