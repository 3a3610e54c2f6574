"""What a user types and imports: the command `tokenwire`."""
