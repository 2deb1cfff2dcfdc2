"""Instances as the masks of queries: MaskFormer.

Training: an annotation becomes a class and a mask of each segment (`targets.py`); queries are matched to segments
(`matching.py`) and held against them (`losses.py`).

Forward (`maskformer.py`, the paper's Fig. 2): backbone → pixel decoder (`pixel_decoder.py`) → F; queries attend to it
(`transformer.py`, `mask_decoder.py`) → classes and masks, from which S and the top-K masks I (`instances.py`) →
relation → F_pan → final heads.

After it: each pixel goes to its best query (`merging.py`); an exported graph does the same with fixed shapes
(`exporting.py`).
"""
