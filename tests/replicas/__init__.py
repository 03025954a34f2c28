"""Small replicas of the real sets, exact to the file name, made of the demo set's faces with the sets' oddities."""
