"""What all commands share to speak and to read their options."""
