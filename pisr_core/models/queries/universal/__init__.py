"""The networks that are built of the classes of `transformers`: Mask2Former, EoMT, VidEoMT, its MaskFormer."""
