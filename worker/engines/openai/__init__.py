"""The back door: an engine that asks an OpenAI-compatible server which is there already.

``body`` (what is asked), ``answer`` (what comes back), ``refusal`` (what a refusal means) and ``pool`` (which
server is asked) are pure; ``client`` and ``discovery`` speak HTTP, ``engine`` puts them together.
docs/adr/0009-what-an-upstream-promises.md says what an upstream's answer promises and what it cannot.
"""
