"""Everything between noise and latents: schedule, tokens, noise, the loop."""
