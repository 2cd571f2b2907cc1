"""Prometheus metrics of the edge. Labels are codes, routes as written in the contracts, and directions: bounded, and never user content."""

from prometheus_client import Counter, Gauge, Histogram

SOCKETS = Gauge("malha_edge_sockets_open", "WebSockets open now.")
CLOSES = Counter("malha_edge_closes_total", "WebSockets closed by the edge, by close code; 1006: the client was lost.", ("code",))
MESSAGES = Counter(
    "malha_edge_messages_total", "Messages of calls, by direction: heard from clients (small pieces joined), told to them.", ("direction",)
)
BYTES = Counter("malha_edge_bytes_total", "Bytes of calls' messages, by direction.", ("direction",))
REQUESTS = Counter("malha_edge_requests_total", "HTTP requests answered, by route and status.", ("route", "status"))
REQUEST_SECONDS = Histogram(
    "malha_edge_request_seconds", "Time to answer HTTP requests.", ("route",), buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300)
)
