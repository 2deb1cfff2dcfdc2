"""Tiny networks of `transformers` with random weights, their image processors, and ours that are built like them."""

from dataclasses import replace

from transformers import (
    DetrConfig,
    EomtConfig,
    EomtDinov3Config,
    EomtDinov3ForUniversalSegmentation,
    EomtForUniversalSegmentation,
    EomtImageProcessor,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessor,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    MaskFormerImageProcessor,
    ResNetConfig,
    SwinConfig,
)

from pisr_core.config import BackboneConfig, Config, LossConfig, RelationConfig
from pisr_core.models import MODELS
from pisr_core.structures import Category

CLASSES, QUERIES, SIDE = 4, 7, 64
STAGES = ["stage1", "stage2", "stage3", "stage4"]
LABELS = {"id2label": {0: "person", 1: "sky", 2: "car", 3: "road"}}


def resnet() -> ResNetConfig:
    return ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic", out_features=STAGES
    )


def swin() -> SwinConfig:
    return SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4, out_features=STAGES
    )


def maskformer() -> MaskFormerForInstanceSegmentation:
    decoder = DetrConfig(
        d_model=16,
        num_queries=QUERIES,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
    )
    config = MaskFormerConfig(
        backbone_config=resnet(), decoder_config=decoder, fpn_feature_size=32, mask_feature_size=32, **LABELS
    )
    return MaskFormerForInstanceSegmentation(config)


def mask2former(backbone=resnet) -> Mask2FormerForUniversalSegmentation:
    config = Mask2FormerConfig(
        backbone_config=backbone(),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=3,
        num_attention_heads=2,
        num_queries=QUERIES,
        train_num_points=64,
        dropout=0.0,
        **LABELS,
    )
    return Mask2FormerForUniversalSegmentation(config)


VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 16,
    "num_blocks": 2,
    "num_queries": QUERIES,
    "num_register_tokens": 1,
    "train_num_points": 64,
}


def eomt(**changes) -> EomtForUniversalSegmentation:
    return EomtForUniversalSegmentation(EomtConfig(**(VIT | LABELS | changes)))


def eomt_dinov3() -> EomtDinov3ForUniversalSegmentation:
    return EomtDinov3ForUniversalSegmentation(EomtDinov3Config(**VIT, intermediate_size=32, **LABELS))


TINY = {"mask2former": mask2former, "maskformer": maskformer, "eomt": eomt, "eomt_dinov3": eomt_dinov3}

PROCESSORS = {
    "mask2former": lambda: Mask2FormerImageProcessor(size={"shortest_edge": 64, "longest_edge": 100}),
    "maskformer": lambda: MaskFormerImageProcessor(size={"shortest_edge": 64, "longest_edge": 100}),
    "eomt": lambda: EomtImageProcessor(size={"shortest_edge": SIDE, "longest_edge": SIDE}, do_pad=True),
    "eomt_dinov3": lambda: EomtImageProcessor(size={"shortest_edge": SIDE, "longest_edge": SIDE}, do_pad=True),
}

CATEGORIES = [Category(index, f"class {index}", index % 2 == 0) for index in range(CLASSES)]
ARCHITECTURES = {
    "mask2former": "mask2former",
    "maskformer": "hf_maskformer",
    "eomt": "eomt",
    "eomt_dinov3": "eomt",
}


def config_of(kind: str, relation: str = "pisr", **transformers) -> Config:
    architecture = ARCHITECTURES[kind]
    settings = MODELS[architecture].settings_of(TINY[kind]())
    return Config(
        architecture=architecture,
        backbone=BackboneConfig(pretrained=False),
        transformers=replace(settings, **({"masked_attention": ()} | transformers)),
        relation=replace(RelationConfig(name=relation, channels=8, top_k=5)),
        loss=LossConfig(gamma=0.5),
    )
