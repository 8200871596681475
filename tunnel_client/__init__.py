"""tunnel_client."""
