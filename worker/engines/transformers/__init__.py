"""Our own continuous-batching engine over a transformers model on torch.

This package imports nothing by itself, so that ``worker.engines.transformers.model`` can find the small
model without paying for torch when it is made already.
"""
