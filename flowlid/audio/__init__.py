"""Sound files: what their headers say, and their samples.

- `channels`: which channel is meant, and whether channels hold the same sound (`ChannelMeter`).
- `decoders`: ffmpeg and sph2pipe.
- `flac`, `mpeg`, `ogg`, `pcm`, `sphere`: whether files of these containers are whole, and how long they are.
- `headers`: duration, rate and channels of a file as a lhotse recording (`open_recording`).
- `opening`: a file of any container with its true length (`open_sound`).
- `samples`: samples of an utterance, resampled, from a file, an archive or a command (`read_audio`).
- `sound_arks`: sounds in Kaldi archives.
"""
