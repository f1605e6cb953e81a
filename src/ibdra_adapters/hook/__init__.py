"""The runtime hook's two ends on this side: the socket it asks, the marks it may trust."""
