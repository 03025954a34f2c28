"""Where the engine's work is done: in processes of our own, here or on a cluster's machines."""
