"""Rules. No socket, thread, lock, clock, randomness or log: ``now`` is an argument, and a rule
answers with a value that somebody duller acts on."""
