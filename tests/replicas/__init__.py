"""Miniature replicas of corpora: exact names, headers and lists, invented content, synthetic speech."""
