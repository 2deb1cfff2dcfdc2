"""The ground that everything stands on: devices, memory, processes, locks, interruption, files written whole."""
