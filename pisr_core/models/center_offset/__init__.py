"""Instances as centres and offsets: Panoptic-DeepLab and UPerNet.

Training: an annotation becomes a class, a centre heatmap and offsets of each pixel (`targets.py`), against which the
losses hold both stages' predictions (`losses.py`).

Forward (`model.py`, the paper's Fig. 2): backbone → decoder (`decoders/`) → F → initial heads (`heads.py`) → S, M and O
→ the top-K centres' maps I (`instances.py`) → relation → F_pan → final heads. `panoptic_deeplab.py` and `upernet.py`
say what F is.

After it (`merging/`): pixels are grouped by the peaks of M that they point to (`grouping.py`, on a GPU
`fixed_grouping.py`) and groups become segments (`panoptic.py`); an exported graph does the same with fixed shapes
(`exporting.py`), several views of an image become one (`views.py`).
"""
