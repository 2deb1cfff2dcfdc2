"""Work in several processes, and what ends or keeps out a process."""
