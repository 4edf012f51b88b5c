"""The network and what it needs to compute: its input, losses, devices, memory, and its model card."""
