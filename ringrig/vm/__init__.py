"""Image → live guest: a console to read, a byte stream to speak SSH over, a way to end it."""
