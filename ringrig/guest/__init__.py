"""What runs inside a guest: the agent, its watch over the kernel, and the words it speaks with the host."""
