"""Public weights that the presets can start from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit


@dataclass(frozen=True)
class WeightsSource:
    """A public file.

    Attributes:
        url: where it is.
        description: what it is.
        preset: a preset that it fits, or whose backbone it fits.
        digest: how its bytes are checked, `md5:` or `sha256:` and the beginning of the hex digest, which the public
            zoos print in the file names; empty where none is published.
        licence: as its page says.
        page: the page that publishes it.
    """

    url: str
    description: str
    preset: str
    digest: str
    licence: str
    page: str

    @property
    def file_name(self) -> str:
        """Its name at the source."""
        return PurePosixPath(urlsplit(self.url).path).name


_DETECTRON2 = "https://dl.fbaipublicfiles.com/detectron2"
_MASKFORMER = "https://dl.fbaipublicfiles.com/maskformer"
_PROJECTS = "https://github.com/facebookresearch/detectron2/tree/main/projects"
_ZOO_PAGE = "https://github.com/facebookresearch/detectron2/blob/main/MODEL_ZOO.md"
_MASKFORMER_PAGE = "https://github.com/facebookresearch/MaskFormer/blob/main/MODEL_ZOO.md"
_TORCHVISION_PAGE = "https://pytorch.org/vision/stable/models.html"
_NO_LICENCE = "not stated (the code: Apache 2.0)"


def _deeplab(folder: str, dataset: str, description: str, preset: str, md5: str) -> WeightsSource:
    url = f"{_DETECTRON2}/PanopticDeepLab/{dataset}-PanopticSegmentation/{folder}/model_final_{md5}.pkl"
    return WeightsSource(url, description, preset, f"md5:{md5}", _NO_LICENCE, f"{_PROJECTS}/Panoptic-DeepLab")


def _panoptic_fpn(run: str, description: str, preset: str, md5: str) -> WeightsSource:
    url = f"{_DETECTRON2}/COCO-PanopticSegmentation/{run}/model_final_{md5}.pkl"
    return WeightsSource(url, description, preset, f"md5:{md5}", "CC BY-SA 3.0", _ZOO_PAGE)


def _maskformer(folder: str, description: str, preset: str, md5: str) -> WeightsSource:
    url = f"{_MASKFORMER}/{folder}/model_final_{md5}.pkl"
    return WeightsSource(url, description, preset, f"md5:{md5}", "CC BY-NC 4.0", _MASKFORMER_PAGE)


def _deeplab_backbone(name: str, description: str, preset: str, project: str) -> WeightsSource:
    url = f"{_DETECTRON2}/DeepLab/{name}.pkl"
    return WeightsSource(url, description, preset, "", _NO_LICENCE, f"{_PROJECTS}/{project}")


SOURCES: dict[str, WeightsSource] = {
    "pdl-r50-cityscapes": _deeplab(
        "panoptic_deeplab_R_52_os16_mg124_poly_90k_bs32_crop_512_1024_dsconv",
        "Cityscapes",
        "Panoptic-DeepLab, ResNet-50 (deep stem), Cityscapes, PQ 60.3",
        "cityscapes-pdl-r50",
        "23d03a",
    ),
    "pdl-r50-cityscapes-plain": _deeplab(
        "panoptic_deeplab_R_52_os16_mg124_poly_90k_bs32",
        "Cityscapes",
        "the same with plain convolutions (--set deeplab.depthwise_separable=false), PQ 60.3",
        "cityscapes-pdl-r50",
        "bd324a",
    ),
    "pdl-r50-coco": _deeplab(
        "panoptic_deeplab_R_52_os16_mg124_poly_200k_bs64_crop_640_640_coco_dsconv",
        "COCO",
        "Panoptic-DeepLab, ResNet-50 (deep stem), COCO, PQ 35.5",
        "coco-pdl-r50",
        "5e6da2",
    ),
    "maskformer-r50-coco": _maskformer(
        "panoptic-coco/maskformer_panoptic_R50_bs64_554k",
        "MaskFormer, ResNet-50, COCO, PQ 46.5",
        "coco-maskformer-r50",
        "6f60dc",
    ),
    "maskformer-r101-coco": _maskformer(
        "panoptic-coco/maskformer_panoptic_R101_bs64_554k",
        "MaskFormer, ResNet-101, COCO, PQ 47.6",
        "coco-maskformer-r101",
        "57b049",
    ),
    "maskformer-swinl-coco": _maskformer(
        "panoptic-coco/maskformer_panoptic_swin_large_IN21k_384_bs64_554k",
        "MaskFormer, Swin-L, COCO, PQ 52.7",
        "coco-maskformer-swinl",
        "7505c4",
    ),
    "maskformer-r50-ade20k": _maskformer(
        "panoptic-ade20k/maskformer_panoptic_R50_bs16_720k",
        "MaskFormer, ResNet-50, ADE20K, PQ 34.7",
        "ade20k-maskformer-r50",
        "7aa977",
    ),
    "maskformer-r101-ade20k": _maskformer(
        "panoptic-ade20k/maskformer_panoptic_R101_bs16_720k",
        "MaskFormer, ResNet-101, ADE20K, PQ 35.7",
        "ade20k-maskformer-r101",
        "0b3cc8",
    ),
    "pfpn-r50-coco": _panoptic_fpn(
        "panoptic_fpn_R_50_3x/139514569",
        "Panoptic FPN, ResNet-50, COCO; can only initialise",
        "coco-pfpn-r50",
        "c10459",
    ),
    "pfpn-r101-coco": _panoptic_fpn(
        "panoptic_fpn_R_101_3x/139514519",
        "Panoptic FPN, ResNet-101, COCO; can only initialise",
        "coco-pfpn-r101",
        "cafdb1",
    ),
    "maskrcnn-r50-coco": WeightsSource(
        "https://download.pytorch.org/models/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
        "torchvision's Mask R-CNN, ResNet-50, COCO; the box and mask part of Panoptic FPN",
        "coco-pfpn-r50",
        "sha256:bf2d0c1e",
        "BSD 3-Clause",
        _TORCHVISION_PAGE,
    ),
    "r50s-imagenet": _deeplab_backbone(
        "R-52", "ResNet-50 with the deep stem, ImageNet (backbone)", "cityscapes-pdl-r50", "Panoptic-DeepLab"
    ),
    "r101s-imagenet": _deeplab_backbone(
        "R-103", "ResNet-101 with the deep stem, ImageNet (backbone)", "cityscapes-pdl-r101", "DeepLab"
    ),
}
"""Public weights by our names for them. Addresses, digests and licences are those of each page."""
