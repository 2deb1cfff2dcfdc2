"""MaskFormer, written out."""
