"""What a PoP does: connections, streams, timers. Each module is one door or one kind of traffic.

visitors   HTTPS and HTTP on the anycast address   dns        UDP and TCP 53
tunnels    connectors on 7844                      overlay    PoPs on 7843, and dialling them
proxy      the data path: exchange (what all share), ingress, transit
linkstate  what is known of the overlay: probes (measure), flooding (tells and hears)
routes     the routing tables, and when they are worked out anew      algorithm  runs what decides
heartbeat  PINGs and deadlines                     posts      small messages between PoPs
admin      the operator's door                     metrics, stats, recent   what it shows
"""
