"""Public weights that the presets can start from."""

from __future__ import annotations

from dataclasses import dataclass

from pisr_core.runtime.download import PublicFile


@dataclass(frozen=True)
class WeightsSource:
    """A public file, or a public model of the Hugging Face hub.

    Attributes:
        url: where it is.
        description: what it is.
        preset: a preset that it fits, or whose backbone it fits; empty where there is none.
        digest: how its bytes are checked, `md5:` or `sha256:` and the beginning of the hex digest, which the public
            zoos print in the file names; empty where none is published.
        licence: as its page says.
        page: the page that publishes it.
        hub: of a model of the hub its name there, `USER/NAME`; the client keeps and checks its files.
        base: of one that holds only the difference to other weights: the name of these on the hub.
        settings: what differs from the preset, as for `--set`.
        use: `predict`, or what it can only start: a `network` or its `backbone`.
    """

    url: str
    description: str
    preset: str
    digest: str
    licence: str
    page: str
    hub: str = ""
    base: str = ""
    settings: tuple[str, ...] = ()
    use: str = "predict"

    @property
    def file(self) -> PublicFile:
        """What is fetched of a source that is no model of the hub."""
        return PublicFile(self.url, self.digest, "give it to `pisr weights import`")


_DETECTRON2 = "https://dl.fbaipublicfiles.com/detectron2"
_MASKFORMER = "https://dl.fbaipublicfiles.com/maskformer"
_PROJECTS = "https://github.com/facebookresearch/detectron2/tree/main/projects"
_ZOO_PAGE = "https://github.com/facebookresearch/detectron2/blob/main/MODEL_ZOO.md"
_MASKFORMER_PAGE = "https://github.com/facebookresearch/MaskFormer/blob/main/MODEL_ZOO.md"
_TORCHVISION_PAGE = "https://pytorch.org/vision/stable/models.html"
_NO_LICENCE = "not stated (the code: Apache 2.0)"


def _deeplab(
    folder: str, dataset: str, description: str, preset: str, md5: str, settings: tuple[str, ...] = ()
) -> WeightsSource:
    url = f"{_DETECTRON2}/PanopticDeepLab/{dataset}-PanopticSegmentation/{folder}/model_final_{md5}.pkl"
    page = f"{_PROJECTS}/Panoptic-DeepLab"
    return WeightsSource(url, description, preset, f"md5:{md5}", _NO_LICENCE, page, settings=settings)


def _panoptic_fpn(run: str, description: str, preset: str, md5: str) -> WeightsSource:
    url = f"{_DETECTRON2}/COCO-PanopticSegmentation/{run}/model_final_{md5}.pkl"
    return WeightsSource(url, description, preset, f"md5:{md5}", "CC BY-SA 3.0", _ZOO_PAGE, use="network")


def _maskformer(folder: str, description: str, preset: str, md5: str) -> WeightsSource:
    url = f"{_MASKFORMER}/{folder}/model_final_{md5}.pkl"
    return WeightsSource(url, description, preset, f"md5:{md5}", "CC BY-NC 4.0", _MASKFORMER_PAGE)


def _deeplab_backbone(name: str, description: str, preset: str, project: str) -> WeightsSource:
    url = f"{_DETECTRON2}/DeepLab/{name}.pkl"
    return WeightsSource(url, description, preset, "", _NO_LICENCE, f"{_PROJECTS}/{project}", use="backbone")


def _hub(hub: str, description: str, preset: str, licence: str, base: str = "") -> WeightsSource:
    url = f"https://huggingface.co/{hub}"
    return WeightsSource(url, description, preset, "", licence, url, hub, base)


def _mask2former(name: str, description: str, preset: str = "") -> WeightsSource:
    return _hub(f"facebook/mask2former-{name}", f"Mask2Former, {description}", preset, "CC BY-NC 4.0")


def _eomt(name: str, description: str, preset: str = "") -> WeightsSource:
    return _hub(f"tue-mps/{name}", f"EoMT, DINOv2 {description}", preset, "MIT")


def _eomt_dinov3(name: str, description: str, size: str) -> WeightsSource:
    base = f"facebook/dinov3-vit{size}16-pretrain-lvd1689m"
    return _hub(f"tue-mps/{name}", f"EoMT, DINOv3 {description}", "", "MIT; its base: DINOv3 License, gated", base)


SOURCES: dict[str, WeightsSource] = {
    "eomt-s-coco": _eomt("coco_panoptic_eomt_small_640_2x", "ViT-S, 640, COCO, PQ 46.7", "coco-eomt-s"),
    "eomt-b-coco": _eomt("coco_panoptic_eomt_base_640_2x", "ViT-B, 640, COCO, PQ 51.6", "coco-eomt-b"),
    "eomt-l-coco": _eomt("coco_panoptic_eomt_large_640", "ViT-L, 640, COCO, PQ 56.0", "coco-eomt-l"),
    "eomt-l-1280-coco": _eomt("coco_panoptic_eomt_large_1280", "ViT-L, 1280, COCO, PQ 58.3"),
    "eomt-g-coco": _eomt("coco_panoptic_eomt_giant_640", "ViT-g, 640, COCO, PQ 57.0"),
    "eomt-g-1280-coco": _eomt("coco_panoptic_eomt_giant_1280", "ViT-g, 1280, COCO, PQ 59.2"),
    "eomt-l-ade20k": _eomt("ade20k_panoptic_eomt_large_640", "ViT-L, 640, ADE20K, PQ 50.6", "ade20k-eomt-l"),
    "eomt-s-dinov3-coco": _eomt_dinov3("coco_panoptic_eomt_small_640_dinov3", "ViT-S, 640, COCO, PQ 47.2", "s"),
    "eomt-b-dinov3-coco": _eomt_dinov3("coco_panoptic_eomt_base_640_dinov3", "ViT-B, 640, COCO, PQ 53.1", "b"),
    "eomt-l-dinov3-coco": _eomt_dinov3("coco_panoptic_eomt_large_640_dinov3", "ViT-L, 640, COCO, PQ 56.8", "l"),
    "eomt-l-1280-dinov3-coco": _eomt_dinov3("coco_panoptic_eomt_large_1280_dinov3", "ViT-L, 1280, COCO, PQ 58.9", "l"),
    "mask2former-swint-coco": _mask2former(
        "swin-tiny-coco-panoptic", "Swin-T, COCO, PQ 53.2", "coco-mask2former-swint"
    ),
    "mask2former-swins-coco": _mask2former("swin-small-coco-panoptic", "Swin-S, COCO, PQ 54.6"),
    "mask2former-swinl-coco": _mask2former(
        "swin-large-coco-panoptic", "Swin-L, COCO, PQ 57.8", "coco-mask2former-swinl"
    ),
    "mask2former-swint-cityscapes": _mask2former(
        "swin-tiny-cityscapes-panoptic", "Swin-T, Cityscapes, PQ 63.9", "cityscapes-mask2former-swint"
    ),
    "mask2former-swinl-cityscapes": _mask2former(
        "swin-large-cityscapes-panoptic", "Swin-L, Cityscapes, PQ 66.6", "cityscapes-mask2former-swinl"
    ),
    "mask2former-swinl-ade20k": _mask2former(
        "swin-large-ade-panoptic", "Swin-L, ADE20K, PQ 48.1", "ade20k-mask2former-swinl"
    ),
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
        "the same with plain convolutions, PQ 60.3",
        "cityscapes-pdl-r50",
        "bd324a",
        ("deeplab.depthwise_separable=false",),
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
        use="network",
    ),
    "r50s-imagenet": _deeplab_backbone(
        "R-52", "ResNet-50 with the deep stem, ImageNet (backbone)", "cityscapes-pdl-r50", "Panoptic-DeepLab"
    ),
    "r101s-imagenet": _deeplab_backbone(
        "R-103", "ResNet-101 with the deep stem, ImageNet (backbone)", "cityscapes-pdl-r101", "DeepLab"
    ),
}
"""Public weights by our names for them. Addresses, digests and licences are those of each page."""
