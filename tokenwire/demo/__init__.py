"""`tokenwire demo-faults`: the page with buttons that break what is behind it."""
