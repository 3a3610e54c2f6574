"""The store: its contract, the Redis verbs, the live reader, and a twin in memory."""
