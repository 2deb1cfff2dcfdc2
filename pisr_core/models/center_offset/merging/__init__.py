"""From S, M and O to segments: on any device, and with shapes that are known before."""
