"""The store in memory: the same verbs and replies as on a server, for unit tests.

It is one process' toy by design: no expiry, no partitions, no lost replies.  The contract suite runs on it
and on real servers alike, so what a unit test learns here holds there.
"""

from shared.store.memory.gateway import MemoryGatewayStore
from shared.store.memory.live import MemoryLive
from shared.store.memory.server import MemoryServer, lose_tail
from shared.store.memory.worker import MemoryWorkerStore

__all__ = ["MemoryGatewayStore", "MemoryLive", "MemoryServer", "MemoryWorkerStore", "lose_tail"]
