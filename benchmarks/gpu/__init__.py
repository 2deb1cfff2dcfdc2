"""What `on_gpu.py` measures, in parts that run by themselves."""
