"""io_uring's ABI as far as provided buffers go, and nothing but the ABI: standard library only, no pytest."""
