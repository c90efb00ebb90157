"""RFC 9260 and its extensions as a sans-IO machine: datagrams and time in, datagrams and events out."""
