"""Wire forms: each turns what its clients send into one request, and back."""
