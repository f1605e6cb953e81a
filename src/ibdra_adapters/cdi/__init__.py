"""CDI spec files in a folder the container runtime watches, and the same in memory."""
