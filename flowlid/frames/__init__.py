"""Features on their way into the flow.

- `pack`, `mapped`: the features of a data directory, packed once into files that are mapped into memory.
- `frameset`: a set's frames, selected, normalized and spliced (`load_frames`, `FrameSet`).
- `batches`: random batches for training, from sets that may be larger than memory.
"""
