"""Tables over many experiments: what is in them, which experiments fill them, how they are run and shown."""
