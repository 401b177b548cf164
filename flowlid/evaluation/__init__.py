"""What a trained flow says of a set.

- `scoring`: log-likelihoods and mean latents per utterance (`score_frames`), and the files that keep them.
- `parts`: the same in parts, by several jobs, and put together.
- `scored`: the same files, read back without a model.
- `decisions`: decisions, accuracy and detection costs of scored utterances.
- `metrics`: accuracy, confusion, EER, detection costs, moments.
- `calibration`: log-likelihoods made true to their word by an affine map, and what they cost in bits.
- `calibrated`: that map fitted on a dev set and stored, and the costs of a set before and after it.
- `typicality`: how far a statistic of an utterance is from what its class and duration lead one to expect.
- `openset`: whether an utterance is of one of the classes at all, or "unknown".
- `rejection`: who is rejected in a set, and how well known and unknown utterances are told apart.
- `bootstrap`: confidence intervals.
- `durations`: accuracy against duration, and small margins.
- `latents`: latents of chosen frames: moments and samples.
- `tsne`: latents in two dims.
- `nonspeech`: decisions from frames without speech: is it the language or the channel?
- `proficiency`: correlation with human scores.
- `reuse`: skips results that are whole and up to date.
"""
