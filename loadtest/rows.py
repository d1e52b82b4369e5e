"""The rows that the people of one process read and write."""

import logging

from loadtest.api import SAMPLES, Api, NoAnswer

logger = logging.getLogger("loadtest")


class Rows:
    """Which rows are hot, and which are to be deleted so that the table does not grow."""

    def __init__(self) -> None:
        self.hot: list[str] = []
        self.made: set[str] = set()
        self._api = Api("")

    def find(self, url: str, token: str) -> None:
        """Take the sample rows for hot; where there are none, make one."""
        self._api = Api(url.rstrip("/"), token)
        try:
            self.hot = [
                key for key in SAMPLES if self._api.request("GET", f"/items/{key}")[0] == 200
            ]
            if not self.hot:
                row = {"name": "Load test", "price": 1}
                status, item, _ = self._api.request("POST", "/items", row)
                if status == 201:
                    self.hot = [str(item["id"])]
                    self.made.add(self.hot[0])
        except NoAnswer as reason:
            # Every read then says so, too.
            logger.error("The API does not answer: %s", reason)
            self.hot = list(SAMPLES)

    def delete(self) -> None:
        """Delete what was made and is still there."""
        try:
            while self.made:
                key = self.made.pop()
                self._api.request("DELETE", f"/items/{key}")
        except NoAnswer as reason:
            logger.error("%d rows of this test are left: %s", len(self.made) + 1, reason)
        finally:
            self.made.clear()
            self._api.close()
