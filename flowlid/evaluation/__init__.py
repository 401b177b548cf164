"""What a trained flow says of a set.

- `scoring`: log-likelihoods and decisions per frame and per utterance (`score_frames`).
- `metrics`: accuracy, confusion, EER, detection costs, moments.
- `bootstrap`: confidence intervals.
- `durations`: accuracy against duration, and small margins.
- `latents`: latents of chosen frames, means per utterance, t-SNE.
- `nonspeech`: decisions from frames without speech: is it the language or the channel?
- `proficiency`: correlation with human scores.
"""
