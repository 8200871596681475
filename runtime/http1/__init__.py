"""HTTP/1.1 on asyncio transports: `server` for who dials us, `client` towards origins."""
