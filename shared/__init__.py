"""What both tiers share: the log's rules, the store, settings, observation, lifecycle."""
