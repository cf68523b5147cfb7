"""Where sockets live: looking at them, setting their options, reading from them."""
