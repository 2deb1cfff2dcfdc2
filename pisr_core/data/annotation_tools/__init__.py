"""Files of annotation tools: a file for each tool, which knows how it is read and, where it takes masks, written."""
