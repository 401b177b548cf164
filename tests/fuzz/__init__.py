"""Damaged inputs of every kind that a user hands over, and runs that are killed.

- `mutations`, `fields`: ways to damage bytes and lines of text, and the numbers in binary headers.
- `kinds`: what a kind of input is: a valid one, how it is read, and what may come of each damage.
- `sounds`, `kaldi_files`, `directories`, `settings`, `models`: the kinds.
- `campaign`: the program that damages and reads them by the thousand.
- `kills`: the program that kills whole runs and repeats them.
"""
