"""What a trained flow says of a set.

- `scoring`: log-likelihoods and mean latents per utterance (`score_frames`), and the files that keep them.
- `blocks`: the same per second, to put pieces of any length together from.
- `parts`: the same in parts, by several jobs, and put together.
- `scored`: the same files, read back without a model.
- `decisions`: decisions, accuracy and detection costs of scored utterances.
- `metrics`: accuracy, confusion, EER, detection costs, moments.
- `novelty`: how far an utterance lies from those of the dev set.
- `calibration`: log-likelihoods made true to their word by an affine map, and what they cost in bits.
- `calibrated`: that map fitted on a dev set, stored and read.
- `costs`: what the decisions of a set cost before and after it.
- `typicality`: how far a statistic of an utterance is from what its class and duration lead one to expect.
- `openset`: whether an utterance is of one of the classes at all, or "unknown".
- `rejection`: who is rejected in a set, and how well known and unknown utterances are told apart.
- `bootstrap`: confidence intervals.
- `comparison`: a flow beside the baselines of the same sets: which decides better?
- `changes`: what changed between two runs that scored the same utterances.
- `voices`: accuracy and bits per voice, and means over voices.
- `durations`: accuracy against duration, and small margins.
- `latents`: latents of chosen frames: moments and samples.
- `tsne`: latents in two dims.
- `nonspeech`: decisions from frames without speech: is it the language or the channel?
- `proficiency`: correlation with human scores.
- `reuse`: skips results that are whole and up to date.
"""
