"""Scores, counted in one pass: PQ, mask AP, mIoU, iIoU, segment confusion and the largest mistakes."""
