"""From a corpus on disk to Kaldi data directories.

- `corpus`: what every `local/prepare_<corpus>.py` needs on the way to lhotse manifests (`Corpus`, `Utterance`).
- `choice`: which part of a large corpus is used, and who is kept out of training.
- `layout`: what is below a corpus's root (`walk`, `find`), and whether it is that corpus (`check_root`).
- `sets`: sets.yaml, which says which recordings make which set, and refuses a split that leaks.
- `speech_table`, `speech_table_checks`, `speech_table_audio`, `speech_table_channels`, `speech_table_utterances`: a
  corpus that is one table, what its rows say of each other, the recordings it names, the channels of those that have
  several, and the utterances that come of it.
- `prompts`: parts and slices of prompts by their names, and the Debian packages that hold them.
- `duplicates`: recordings that are the same as others.
- `augmented`: copies of training utterances with another speed, noise or room.
- `data_dirs`: manifests to data directories.
"""
