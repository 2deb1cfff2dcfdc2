"""The losses of each base architecture, as its original publication has them (Sec. 3.1)."""
