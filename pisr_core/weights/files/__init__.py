"""Files of tensors, ours and others', read as data."""
