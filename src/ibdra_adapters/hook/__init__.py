"""The attach hook's daemon side: its socket, its marks, its program; the marks in memory."""
