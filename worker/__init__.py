"""The worker: claims responses, computes them in steps, appends to their logs."""
