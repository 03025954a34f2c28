"""Shards straight from the team's DVC remote, through a bounded cache that processes share."""
