"""Features on their way into the flow.

- `pack`: the features of a data directory, written once into files that are mapped into memory (`open_or_build`).
- `packing`: how a pack is written, in parts by any number of processes, and joined (`write_part`, `join`).
- `checksums`: of files that are written or read in pieces at once.
- `selection`: which of their frames are a set's: voiced, non-speech, every n-th.
- `floor`: speech at a stated level, and the same noise for all recordings (`frames.level`, `frames.floor`).
- `normalization`: the shift and scale of each utterance.
- `frameset`: a set's frames, normalized and spliced where they are used (`load_frames`, `FrameSet`).
- `utterances`: the same of a few utterances in memory (`frames_of`).
- `agreement`: whether data are what a model was trained on (`check_features`, `check_labels`).
- `augmentation`: training frames with another voice, channel and noise in each epoch.
- `batches`: random batches for training, from sets that may be larger than memory.
"""
