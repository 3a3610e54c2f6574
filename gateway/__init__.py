"""The gateway: terminates sockets and HTTP, relays logs and live channels; holds nothing else."""
