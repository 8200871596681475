"""Small programs that measure from inside a node: `python -m lab.probes.NAME`, JSON on stdout.

echo   ICMP echoes to a list of addresses, as `ping` would send them
visit  one HTTPS or HTTP request, phase by phase: dns, tcp, tls, first byte

They use blocking sockets and nothing of the edge, so that what they see is what any visitor's program sees.
Each reads its task as one JSON object from stdin; times are in seconds.
"""
