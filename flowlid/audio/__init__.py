"""Sound files: what their headers say, and their samples.

- `channels`: which channel is meant, and whether channels hold the same sound (`ChannelMeter`).
- `headers`: duration, rate and channels of a file as a lhotse recording (`open_recording`).
- `samples`: samples of an utterance, resampled, from a file or a command (`read_audio`).
"""
