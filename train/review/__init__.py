"""Going through suspect labels in a browser: what is shown, what was decided, and the local server between the two."""
