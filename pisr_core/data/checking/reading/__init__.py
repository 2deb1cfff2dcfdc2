"""What a split holds: its JSON's entries, its folders, and which file belongs to which entry."""
