import torch

from pisr_core.weights.public.detectron2 import from_detectron2_deeplab, from_detectron2_maskformer


def test_names():
    names = {
        "backbone.stem.conv1.weight": "backbone.body.conv1.0.weight",
        "backbone.stem.conv3.norm.bias": "backbone.body.bn1.bias",
        "backbone.res2.0.shortcut.norm.weight": "backbone.body.layer1.0.downsample.1.weight",
        "backbone.res5.2.conv2.norm.running_var": "backbone.body.layer4.2.bn2.running_var",
        "sem_seg_head.decoder.res5.project_conv.convs.1.depthwise.norm.bias": (
            "semantic_decoder.aspp.branches.1.0.1.bias"
        ),
        "ins_embed_head.decoder.res5.project_conv.convs.4.1.bias": "instance_decoder.aspp.pooled.0.bias",
        "sem_seg_head.decoder.res2.fuse_conv.pointwise.weight": "semantic_decoder.fuse.res2.1.0.weight",
        "sem_seg_head.head.1.norm.weight": "initial_heads.semantic.0.1.1.weight",
        "ins_embed_head.center_predictor.weight": "initial_heads.center.1.weight",
    }
    assert list(from_detectron2_deeplab(dict.fromkeys(names, torch.zeros(1)))) == list(names.values())


def test_names_of_maskformer():
    names = {
        "backbone.stem.conv1.weight": "backbone.body.conv1.weight",
        "backbone.stem.conv1.norm.bias": "backbone.body.bn1.bias",
        "backbone.res4.5.conv1.norm.running_var": "backbone.body.layer3.5.bn1.running_var",
        "sem_seg_head.pixel_decoder.adapter_1.weight": "pixel_decoder.lateral.res2.0.weight",
        "sem_seg_head.pixel_decoder.layer_4.norm.bias": "pixel_decoder.output.res5.1.bias",
        "sem_seg_head.layer_3.weight": "pixel_decoder.output.res4.0.weight",
        "sem_seg_head.pixel_decoder.mask_features.bias": "pixel_decoder.mask_features.bias",
        "sem_seg_head.pixel_decoder.input_proj.weight": "pixel_decoder.encoder.input_proj.weight",
        "sem_seg_head.pixel_decoder.transformer.encoder.layers.5.norm2.bias": (
            "pixel_decoder.encoder.layers.5.norm2.bias"
        ),
        "sem_seg_head.predictor.input_proj.weight": "transformer_decoder.input_proj.weight",
        "sem_seg_head.predictor.query_embed.weight": "transformer_decoder.query_embed.weight",
        "sem_seg_head.predictor.transformer.decoder.layers.0.multihead_attn.in_proj_weight": (
            "transformer_decoder.layers.0.multihead_attn.in_proj_weight"
        ),
        "sem_seg_head.predictor.transformer.decoder.norm.bias": "transformer_decoder.norm.bias",
        "sem_seg_head.predictor.class_embed.bias": "initial_heads.class_embed.bias",
        "sem_seg_head.predictor.mask_embed.layers.2.weight": "initial_heads.mask_embed.4.weight",
        "criterion.empty_weight": "criterion.empty_weight",
    }
    assert list(from_detectron2_maskformer(dict.fromkeys(names, torch.zeros(1)))) == list(names.values())
