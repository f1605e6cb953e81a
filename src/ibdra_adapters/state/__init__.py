"""The driver's memory: one durable file a record (D11), and the same in memory."""
