"""A thread that the hub cannot do without: its end is noticed at once."""

import threading
from collections.abc import Callable


class HubThread(threading.Thread):
    """`on_end` is called from the thread when `work` is over, for whatever reason; `ended` is True then."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.ended = False
        self.on_end: Callable[[], None] = lambda: None

    def work(self) -> None:
        """What the thread does until it is stopped."""
        raise NotImplementedError

    def run(self) -> None:
        """Work; say when it is over."""
        try:
            self.work()
        finally:
            self.ended = True
            self.on_end()
