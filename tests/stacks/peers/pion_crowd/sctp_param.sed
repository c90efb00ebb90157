# Debian's pion discards an INIT ACK with a parameter that it does not know, such as 0x8001 of node-datachannel (RFC 9653).
# Keep such a parameter as opaque bytes, as later versions do.
s/return nil, fmt.Errorf("%w: %v", ErrParamTypeUnhandled, t)/_ = fmt.Sprint\n\t\treturn (\&paramRandom{}).unmarshal(rawParam)/
