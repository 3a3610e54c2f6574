"""Dashboards and recording rules, made from Python: `make dashboards` writes them under `deploy/`."""
