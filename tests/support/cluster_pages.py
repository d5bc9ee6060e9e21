"""What everybody in the network can read of a cluster: its web pages and their JSON."""

from __future__ import annotations

import re
import urllib.request
from collections import deque
from http.client import HTTPException
from urllib.parse import urljoin, urlsplit

from clusters import FlinkCluster, SparkCluster

_MOST = 80
_SECONDS = 5.0
# Without the user's proxy: it could not reach this machine's loopback addresses.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
_LINK = re.compile(r"""(?:href|src)=["']([^"'#]+)""")
_FLINK = ("/overview", "/config", "/jobs/overview", "/jobmanager/config", "/jobmanager/log")
_FLINK_JOB = ("", "/config", "/exceptions", "/plan", "/accumulators", "/jobmanager/config")


def pages(cluster: FlinkCluster | SparkCluster) -> dict[str, str]:
    """Address -> text of each page that can be found."""
    begin = [cluster.rest + "/"]
    if isinstance(cluster, FlinkCluster):
        begin = [cluster.rest + path for path in _FLINK]
        for job in (cluster.get("/jobs/overview") or {"jobs": []})["jobs"]:
            begin += [f"{cluster.rest}/jobs/{job['jid']}{path}" for path in _FLINK_JOB]
        for one in (cluster.get("/taskmanagers") or {"taskmanagers": []})["taskmanagers"]:
            begin += [f"{cluster.rest}/taskmanagers/{one['id']}{path}" for path in ("", "/log")]
    else:
        begin += [cluster.rest + "/json/"]
    return _crawl(begin)


def _crawl(begin: list[str]) -> dict[str, str]:
    """The pages, and those that they link to on this machine: Spark's driver has its own."""
    found: dict[str, str] = {}
    waiting = deque(begin)
    while waiting and len(found) < _MOST:
        url = waiting.popleft()
        if url in found or urlsplit(url).hostname not in ("127.0.0.1", "localhost"):
            continue
        try:
            with _open(url, timeout=_SECONDS) as reply:
                text = reply.read().decode(errors="replace")
        except (OSError, HTTPException):  # it is just beginning, or has just ended
            continue
        found[url] = text
        for link in _LINK.findall(text):
            if not re.search(r"\.(css|js|png|ico|svg|jar)$|kill|/static/", link):
                waiting.append(urljoin(url, link))
    return found
