"""Cityscapes as it is downloaded: instance ids, or the polygons that they are drawn from."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.helpers.labels import id2label, name2label
from cityscapesscripts.preparation.json2instanceImg import createInstanceImage
from jaxtyping import Int
from PIL import Image

from pisr_core.data.coco.entries import parse_image, show
from pisr_core.data.prepare.raw import Label, LabelledMap, check_image, check_known, read_label_map
from pisr_core.errors import DataError
from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import VOID_ID

INSTANCES, POLYGONS = "_gtFine_instanceIds.png", "_gtFine_polygons.json"
"""How the names of annotations end."""

FIRST_INSTANCE = 1000
"""Below are ids of classes; from here on an id is 1000 · class + number."""


@dataclass(frozen=True)
class CityscapesImage:
    """One image of Cityscapes.

    Attributes:
        image_id: CITY_SEQUENCE_FRAME.
        folder: of its annotations.
        image: the photo.
    """

    image_id: str
    folder: Path
    image: Path

    @property
    def file_name(self) -> str:
        """As cityscapesscripts names it in its JSON."""
        return f"{self.image_id}_gtFine_leftImg8bit.png"

    @property
    def png_name(self) -> str:
        """As cityscapesscripts names it."""
        return f"{self.image_id}_gtFine_panoptic.png"

    def read(self) -> LabelledMap:
        """The panoptic map; missing instance ids are drawn from the polygons and kept beside them.

        Raises:
            DataError: a file is missing or broken, of another size than the image, or has an unknown class.
        """
        path = self.folder / f"{self.image_id}{INSTANCES}"
        if not path.is_file():
            draw_instances(self.folder / f"{self.image_id}{POLYGONS}", path)
        ids = read_label_map(path)
        check_image(self.image, (ids.shape[0], ids.shape[1]), path)
        present = np.unique(ids)
        check_known(path, present[[class_of(int(i)) not in id2label for i in present]], "instance ids")
        return panoptic(ids)


def class_of(instance_id: int) -> int:
    """The class (an id, no train id) of an instance id."""
    return instance_id // FIRST_INSTANCE if instance_id >= FIRST_INSTANCE else instance_id


def panoptic(ids: Int[np.ndarray, "H W"]) -> LabelledMap:
    """The map that `cityscapesscripts.preparation.createPanopticImgs` makes of instance ids.

    The ids stay what they are; classes that are not evaluated become void; a thing without a number is a group.
    Written here because the script only does whole splits, without resuming, in one process.
    """
    present = np.unique(ids).tolist()
    labels = {i: id2label[class_of(i)] for i in present}
    table = np.zeros(present[-1] + 1, np.int32)
    evaluated = [i for i in present if not labels[i].ignoreInEval]
    table[evaluated] = evaluated
    return LabelledMap(
        table[ids],
        {i: Label(labels[i].id, labels[i].hasInstances and i < FIRST_INSTANCE) for i in evaluated if i != VOID_ID},
    )


def draw_instances(polygons: Path, path: Path) -> None:
    """Draws instance ids from polygons with cityscapesscripts.

    Raises:
        DataError: the polygons are missing or broken.
        OutputError: the drawing cannot be written.
    """
    annotation = Annotation()
    try:
        annotation.fromJsonText(polygons.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{polygons}: no such file, nor {path.name}. Unpack gtFine_trainvaltest.zip there.") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise DataError(f"{polygons}: cannot be read ({show(error)}). Download it again.") from error
    size = {"id": 0, "file_name": polygons.name, "height": annotation.imgHeight, "width": annotation.imgWidth}
    parse_image(size, str(polygons))
    # An unknown label would make cityscapesscripts end the process.
    labels = {str(o.label) for o in annotation.objects}
    unknown = sorted(label for label in labels if label.removesuffix("group") not in name2label)
    if unknown:
        raise DataError(f"{polygons}: unknown labels {', '.join(unknown)[:200]}. Check that it belongs to Cityscapes.")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints there, which belongs to results
            ids = np.array(createInstanceImage(annotation, "ids"))
    except (ValueError, TypeError, ArithmeticError, MemoryError) as error:
        raise DataError(f"{polygons}: a polygon cannot be drawn ({error}). Download it again.") from error
    with written_whole(path, sync=False) as partial:
        Image.fromarray(ids.astype(np.uint16)).save(partial, format="PNG")


def find_images(base: Path, split: str) -> list[CityscapesImage]:
    """The annotated images of a split, in the order in which cityscapesscripts takes them."""
    found = {
        str(path).removesuffix(suffix)
        for suffix in (INSTANCES, POLYGONS)
        for path in (base / "gtFine" / split).glob(f"*/*{suffix}")
    }
    images = []
    for stem in sorted(found, key=lambda stem: stem + INSTANCES):
        folder, image_id = Path(stem).parent, Path(stem).name
        photo = base / "leftImg8bit" / split / folder.name / f"{image_id}_leftImg8bit.png"
        images.append(CityscapesImage(image_id, folder, photo))
    return images
