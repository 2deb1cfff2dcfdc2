"""Instances as the masks of queries: MaskFormer, Mask2Former, EoMT, VidEoMT.

Training: an annotation becomes a class and a mask of each segment (`targets.py`), which queries are matched to and held
against: by ours (`maskformer/matching.py`, `losses.py`), or by the network's own criterion (`universal/model.py`).

Forward (`model.py`, the paper's Fig. 2): features F and queries → classes and masks, from which S and the top-K masks I
(`instances.py`) → relation → F_pan → final heads. `maskformer/` is written out; the networks in `universal/` are built
of the classes of `transformers`, taken apart into the same parts.

After it: each pixel goes to its best query (`merging.py`); an exported graph does the same with fixed shapes
(`exporting.py`).
"""
